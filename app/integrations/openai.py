"""OpenAI: questions, labels, fields, summaries and translations by the models behind ChatGPT."""

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr, field_validator

from app.sdk import ai, ai_steps
from app.sdk.declare import Context, Integration, Sample
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.fields import Settings, Text, setting
from app.sdk.http import parse_retry_after
from app.sdk.sealed import mask
from app.sdk.transport import guarded

openai = Integration(
    module=__name__,
    title="OpenAI",
    about="ask ChatGPT's models: answer, sort, take out, summarise and translate",
    need="optional",
)

# Cheap, quick, and good at what these steps do.
_MODEL: Final = "gpt-6-luna"
_MODERATOR: Final = "omni-moderation-latest"
_VERDICT: Final = {"flagged", "categories", "category_scores"}
_PRICES: Final = Path(__file__).with_name("openai_prices.json")
# No seconds of waiting mend these: somebody has to add credit. https://platform.openai.com/docs/guides/error-codes
_NO_CREDIT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


@openai.connection
class Account(ai.Allowance):
    """Your own key: OpenAI bills you for what the steps use. Make it at platform.openai.com under API keys."""

    api_key: SecretStr = setting(
        "API key", example="sk-proj-3kd93kd93kd93kd9", where="platform.openai.com → settings → API keys"
    )

    @field_validator("api_key")
    @classmethod
    def _is_key(cls, key: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[\x21-\x7e]{12,}", key.get_secret_value().strip()):
            raise ValueError("must be a key as platform.openai.com shows it; it begins with sk-")
        return key


def _library() -> Any:
    """Imported when first used: it takes a second."""
    return import_module("openai")


def _client(ctx: Context, connection: Account) -> Any:
    library = _library()
    # Else the library would take both from environment variables.
    unnamed = dict.fromkeys(("OpenAI-Organization", "OpenAI-Project"), library.Omit())
    return library.OpenAI(
        api_key=connection.api_key.get_secret_value().strip(),
        organization="",
        project="",
        default_headers=unnamed,
        base_url=ctx.base_url or "https://api.openai.com/v1",
        max_retries=0,
        http_client=guarded(ctx.http, deadline_s=120),
    )


@openai.check
def check(ctx: Context, connection: Account) -> str:
    """Asks which models the key may use: free, and refused without a valid key."""
    try:
        models = _client(ctx, connection).models.list().data or []
    except _library().APIStatusError as error:
        if error.status_code == 403 and "missing scopes" in str(error.message).lower():
            return "openai knows this key; it may not list models, so try it in a step"
        raise _failure(ctx, error, connection) from None
    return f"connected; {len(models)} models may be used"


def _failure(ctx: Context, error: Any, connection: Account, model: str = "") -> IntegrationError:
    code, status = error.code or error.type or "no reason given", error.status_code
    if code in _NO_CREDIT or error.type in _NO_CREDIT:
        return AuthError(
            f"the openai account has no credit left ({code}); add some, then check this connection"
        )
    if code == "model_not_found":
        return RejectedError(f"openai has no model {model} for this key; choose another model in the step")
    if status in {401, 403}:
        return AuthError(f"openai refused the key ({status} {code}); make a new one and connect it")
    if status in {408, 409, 429} or status >= 500:
        after = parse_retry_after(error.response.headers.get("retry-after"), ctx.now)
        return TemporaryError(f"openai cannot take this now ({status} {code})", after=after)
    return RejectedError(f"openai rejected the request ({status} {code}: {_told(error, connection)})")


def _told(error: Any, connection: Account) -> str:
    said = str(error.body.get("message")) if isinstance(error.body, dict) else "no reason given"
    return " ".join(mask(said, [connection.api_key.get_secret_value().strip()]).split())[:200].rstrip(".")


def _till(ctx: Context, connection: Account, params: ai.StepOptions, *, free: bool = False) -> ai.Till:
    def send(request: ai.Request) -> ai.Reply:
        try:
            return (_moderated if free else _completed)(_client(ctx, connection), request)
        except _library().APIStatusError as error:
            raise _failure(ctx, error, connection, str(request.get("model"))) from None
        except (_library().APIError, AttributeError, LookupError, TypeError, ValueError) as error:
            # The library builds its objects from whatever came, unchecked.
            raise TemporaryError("openai gave an answer that cannot be read") from error

    return ai.Till(ctx, connection.limits(), params.limits(), ai.price_list(_PRICES), send, free=free)


def _completed(client: Any, request: ai.Request) -> ai.Reply:
    answer = client.chat.completions.create(**request)
    choice, usage = answer.choices[0], answer.usage
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    filtered = "its content filter stopped it" if choice.finish_reason == "content_filter" else ""
    return ai.Reply(
        text=choice.message.content or "",
        model=answer.model,
        tokens_in=usage.prompt_tokens,
        tokens_out=usage.completion_tokens,
        tokens_cached=cached or 0,
        declined=choice.message.refusal or filtered,
        cut=choice.finish_reason == "length",
    )


def _moderated(client: Any, request: ai.Request) -> ai.Reply:
    answer = client.moderations.create(**request)
    verdict = answer.results[0].model_dump_json(by_alias=True, include=_VERDICT)
    return ai.Reply(text=verdict, model=answer.model)


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


def _took(tokens_in: int, tokens_out: int, cost_usd: float) -> dict[str, Any]:
    return {"model": _MODEL, "tokens_in": tokens_in, "tokens_out": tokens_out, "cost_usd": cost_usd}


# Each is repeatable although it costs money: an answer is kept as soon as it is there, so that another try
# finds it. Only a call whose answer was lost on its way may be paid twice.


@openai.action(
    "Ask a question",
    idempotent=True,
    samples=[
        Sample(
            {"prompt": "Write a friendly answer to this mail: where is my parcel?"},
            {"text": "Hello! Your parcel is on its way.", "cut_off": False} | _took(24, 11, 0.000008),
        ),
    ],
)
def ask(ctx: Context, connection: Account | None, params: Ask) -> Mapping[str, Any]:
    """Asks a model and gives its answer as text; or, with a JSON Schema, as data that fits it."""
    more = {"temperature": params.temperature, "max_completion_tokens": params.longest}
    return _answer(ctx, connection, params, params.answer_schema, **more)


@openai.action(
    "Sort a text under a label",
    idempotent=True,
    samples=[
        Sample(
            {"text": "The lamp came broken.", "labels": ["invoice", "complaint", "other"]},
            {"label": "complaint"} | _took(58, 6, 0.000009),
        )
    ],
)
def classify(ctx: Context, connection: Account | None, params: Classify) -> Mapping[str, Any]:
    """Gives the one of your labels that fits a text best, and never another word."""
    answer = _answer(ctx, connection, params, params.shape())
    return {**answer.pop("data", {}), **answer}


@openai.action(
    "Take fields out of a text",
    idempotent=True,
    samples=[
        Sample(
            {
                "text": "Ada Byron ordered for 150 euro",
                "fields": {"customer": "name", "total": "number: the sum"},
            },
            {"data": {"customer": "Ada Byron", "total": 150}} | _took(74, 15, 0.000015),
        )
    ],
)
def extract(ctx: Context, connection: Account | None, params: Extract) -> Mapping[str, Any]:
    """Takes what you name out of a text, such as customer and sum out of a mail; null for what is not there."""
    return _answer(ctx, connection, params, params.shape())


@openai.action(
    "Summarise a text",
    idempotent=True,
    samples=[
        Sample(
            {"text": "Dear all, the meeting on Monday is moved to Tuesday at ten.", "length": "one sentence"},
            {"text": "Monday's meeting moves to Tuesday, 10:00.", "cut_off": False} | _took(66, 13, 0.000014),
        )
    ],
)
def summarise(ctx: Context, connection: Account | None, params: Summarise) -> Mapping[str, Any]:
    """Says in a few words what a text is about."""
    return _answer(ctx, connection, params)


@openai.action(
    "Translate a text",
    idempotent=True,
    samples=[
        Sample(
            {"text": "Wo ist mein Paket?", "language": "English"},
            {"text": "Where is my parcel?", "cut_off": False} | _took(52, 6, 0.000009),
        )
    ],
)
def translate(ctx: Context, connection: Account | None, params: Translate) -> Mapping[str, Any]:
    """Puts a text into another language."""
    return _answer(ctx, connection, params)


@openai.action(
    "Look for harmful content",
    idempotent=True,
    samples=[
        Sample(
            {"text": "You did a great job!"},
            {"flagged": False, "categories": [], "scores": {"violence": 0.0002}}
            | _took(0, 0, 0.0)
            | {"model": _MODERATOR},
        )
    ],
)
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
