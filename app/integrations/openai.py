"""OpenAI: questions, labels, fields, summaries and translations by the models behind ChatGPT."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from pydantic import SecretStr

from app.sdk import ai, ai_steps
from app.sdk.declare import Context, Integration
from app.sdk.fields import Settings, Text, setting
from app.sdk.openai_api import Api
from app.sdk.shapes import shaped

openai = Integration(
    module=__name__,
    title="OpenAI",
    about="ask ChatGPT's models: answer, sort, take out, summarise and translate",
    need="optional",
)

# Cheap, quick, and good at what these steps do.
_MODEL: Final = "gpt-6-luna"
_MODERATOR: Final = "omni-moderation-latest"
_PRICES: Final = Path(__file__).with_name("openai_prices.json")

Key: TypeAlias = Annotated[
    SecretStr,
    shaped(r"[\x21-\x7e]{12,}", "must be a key as platform.openai.com shows it; it begins with sk-"),
]


@openai.connection
class Account(ai.Allowance):
    """Your own key: OpenAI bills you for what the steps use. Make it at platform.openai.com under API keys."""

    api_key: Key = setting(
        "API key", example="sk-proj-3kd93kd93kd93kd9", where="platform.openai.com → settings → API keys"
    )


def _api(ctx: Context, connection: Account) -> Api:
    return Api(ctx, connection.api_key.get_secret_value())


@openai.check
def check(ctx: Context, connection: Account) -> str:
    """Asks which models the key may use: free, and refused without a valid key."""
    models = _api(ctx, connection).models()
    if models is None:
        return "openai knows this key; it may not list models, so try it in a step"
    return f"connected; {models} models may be used"


def _till(ctx: Context, connection: Account, params: ai.StepOptions, *, free: bool = False) -> ai.Till:
    api = _api(ctx, connection)
    call = api.moderated if free else api.completed
    return ai.Till(ctx, connection.limits(), params.limits(), ai.price_list(_PRICES), call, free=free)


class _Model(Settings):
    """Which model to ask."""

    model: Text = setting("Model", _MODEL, help="as platform.openai.com names it under models", min_length=1)


class Ask(ai.StepOptions, _Model, ai_steps.Question):
    """A question in your own words."""


class Classify(ai.StepOptions, _Model, ai_steps.Labels):
    """A text and the labels it may get."""


class Extract(ai.StepOptions, _Model, ai_steps.Fields):
    """A text and what to take out of it."""


class Summarise(ai.StepOptions, _Model, ai_steps.Length):
    """A text to be made short."""


class Translate(ai.StepOptions, _Model, ai_steps.Language):
    """A text to be put into another language."""


class Moderate(ai.StepOptions, ai_steps.Given):
    """A text to be looked at."""


def _answer(
    ctx: Context, connection: Account | None, params: Any, shape: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """`text`, or with a shape `data`; and what it took."""
    if connection is None:
        return ai.without_ai(params, openai.title)
    till = _till(ctx, connection, params)
    request = {"model": params.model, "messages": params.messages()}
    request |= {name: value for name, value in more.items() if value is not None}
    if shape is None:
        reply = till.ask(request)
        return {"text": reply.text, "cut_off": reply.cut} | till.receipt()
    # Our own schemas keep the rules of the strict mode; a user's may not, and is checked here anyway.
    answer = {"name": "answer", "schema": shape, "strict": not isinstance(params, Ask)}
    request["response_format"] = {"type": "json_schema", "json_schema": answer}
    return {"data": till.ask_for(request, shape)} | till.receipt()


# Each is repeatable although it costs money: an answer is kept as soon as it is there, so that another try
# finds it. Only a call whose answer was lost on its way may be paid twice.


@openai.action("Ask a question", idempotent=True)
def ask(ctx: Context, connection: Account | None, params: Ask) -> Mapping[str, Any]:
    """Asks a model and gives its answer as text; or, with a JSON Schema, as data that fits it."""
    more = {"temperature": params.temperature, "max_completion_tokens": params.longest}
    return _answer(ctx, connection, params, params.answer_schema, **more)


@openai.action("Sort a text under a label", idempotent=True)
def classify(ctx: Context, connection: Account | None, params: Classify) -> Mapping[str, Any]:
    """Gives the one of your labels that fits a text best, and never another word."""
    answer = _answer(ctx, connection, params, params.shape())
    return {**answer.pop("data", {}), **answer}


@openai.action("Take fields out of a text", idempotent=True)
def extract(ctx: Context, connection: Account | None, params: Extract) -> Mapping[str, Any]:
    """Takes what you name out of a text, such as customer and sum out of a mail; null for what is not there."""
    return _answer(ctx, connection, params, params.shape())


@openai.action("Summarise a text", idempotent=True)
def summarise(ctx: Context, connection: Account | None, params: Summarise) -> Mapping[str, Any]:
    """Says in a few words what a text is about."""
    return _answer(ctx, connection, params)


@openai.action("Translate a text", idempotent=True)
def translate(ctx: Context, connection: Account | None, params: Translate) -> Mapping[str, Any]:
    """Puts a text into another language."""
    return _answer(ctx, connection, params)


@openai.action("Look for harmful content", idempotent=True)
def moderate(ctx: Context, connection: Account | None, params: Moderate) -> Mapping[str, Any]:
    """Says whether a text is hateful, violent, sexual or the like; OpenAI charges nothing for it."""
    if connection is None:
        return ai.without_ai(params, openai.title)
    till = _till(ctx, connection, params, free=True)
    reply = till.ask({"model": _MODERATOR, "input": params.text})
    verdict = json.loads(reply.text)
    found = [name for name, flagged in verdict["categories"].items() if flagged]
    return {
        "flagged": verdict["flagged"],
        "categories": found,
        "scores": verdict["category_scores"],
    } | till.receipt()
