"""Microsoft Teams: post messages to a channel or chat through a workflow."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import SecretStr, ValidationInfo, field_validator

from app.sdk import adaptive_cards as cards
from app.sdk.answers import Answer
from app.sdk.declare import Context, Integration
from app.sdk.errors import AuthError, IntegrationError, RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.notices import Notice
from app.sdk.said import is_later, json_object, not_now
from app.sdk.shapes import Object, WebAddress, shaped

msteams = Integration(
    module=__name__, title="Microsoft Teams", about="post messages to a channel or chat through a workflow"
)

_DEADLINE_S: Final = 30.0
# https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook
_MOST_BYTES: Final = 28 * 1024
# Where workflows listen: https://learn.microsoft.com/en-us/power-automate/ip-address-configuration
_URL: Final = (
    r"https://(?ai:[a-z0-9.-]+\.(logic\.azure\.(com|us)|api\.powerplatform\.(com|us)|flow\.microsoft\.com))"
    r"(:443)?/\S+"
)
# The workflow is there no more, or does not listen.
_OFF: Final = frozenset(
    {"WorkflowNotFound", "WorkflowTriggerIsNotEnabled", "WorkflowDisabled", "TriggerNotFound", "ResourceNotFound",
     "DirectApiAuthorizationRequired", "AuthorizationFailed", "MisMatchingOAuthClaims", "InvalidSharedAccessSignature"}
)  # fmt: skip

WorkflowUrl: TypeAlias = Annotated[
    SecretStr, shaped(_URL, "must be the https address of a workflow; copy it whole from teams")
]


@msteams.connection
class Workflow(Settings):
    """A workflow belongs to one channel or chat. Its template is called: send webhook alerts to a channel."""

    webhook_url: WorkflowUrl = setting(
        "Workflow URL",
        help="whoever knows it can post to the channel",
        example="https://prod-00.westeurope.logic.azure.com/workflows/0a1b/triggers/manual/paths/invoke?sig=AbCd-EfGh",
        where="channel → ⋯ → workflows → send webhook alerts to a channel → copy webhook link",
    )


@msteams.check
def check(ctx: Context, connection: Workflow) -> str:
    """Says what the address is for: a workflow cannot be asked without starting it."""
    return "kept; teams cannot be asked without posting, so the first message proves it"


class Message(Settings):
    """A message as a card."""

    title: Text = setting("Title", "", example="order {{ event.order }}", max_length=500)
    text: Text = setting("Text", "", example="over {{ event.total }}", widget="textarea", max_length=20_000)
    facts: dict[str, Text] = setting("Facts", {}, help="names and values below the text", widget="pairs")
    link: WebAddress = setting(
        "Link", "", help="where the button leads", example="https://shop.example/A-1001"
    )
    link_title: Text = setting("Words on the button", "Open", max_length=100)
    markup: bool = setting(
        "Text has markdown", False, help="bold, lists and links; values are then not made harmless"
    )
    card: Object = setting(
        "Card",
        None,
        help="instead of all above: an adaptive card as JSON, from adaptivecards.io/designer",
        widget="code",
        validate_default=True,
    )

    @field_validator("card")
    @classmethod
    def _is_card(cls, card: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        if card is None and not any(info.data.get(name, "-") for name in ("title", "text", "facts")):
            raise ValueError("write a title, a text, facts, or a card")
        if card is not None and card.get("type") != "AdaptiveCard":
            raise ValueError('must be an object with "type": "AdaptiveCard"')
        return card


@msteams.action("Post a message", idempotent=False)
def message(ctx: Context, connection: Workflow, params: Message) -> Mapping[str, Any]:
    """Posts a card. Values are text: they can hold no markup and call nobody, unless you say so."""
    attachment = {
        "contentType": cards.MEDIA_TYPE,
        "contentUrl": None,
        "content": params.card or _card(params),
    }
    body = json.dumps({"type": "message", "attachments": [attachment]}).encode()
    if len(body) > _MOST_BYTES:
        raise RejectedError(
            f"the message is larger than the {_MOST_BYTES // 1024} KB that teams takes; shorten it"
        )
    answer = ctx.http.request(
        "POST",
        ctx.placed(connection.webhook_url.get_secret_value()),
        content=body,
        headers={"Content-Type": "application/json"},
        deadline_s=_DEADLINE_S,
        follow_redirects=False,
    )
    if not 200 <= answer.status < 300:
        raise _failure(ctx, answer)
    return {"posted": True}


def _failure(ctx: Context, answer: Answer) -> IntegrationError:
    error = json_object(answer).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if is_later(answer):
        return not_now("teams", answer, ctx.now)
    if code in _OFF or answer.status in {401, 403, 404, 410}:
        return AuthError(
            f"the workflow is gone, off, or has another address ({answer.status}); copy it again from teams"
        )
    if answer.status == 413:
        return RejectedError("teams finds the message too large; shorten it")
    known = code if isinstance(code, str) and re.fullmatch(r"\w{1,60}", code) else "no reason given"
    return RejectedError(f"the workflow did not take the message ({answer.status} {known})")


def _card(params: Message) -> dict[str, Any]:
    title = cards.lines(params.title, markup=False, weight="Bolder", size="Medium")
    facts = [
        cards.runs({"text": f"{name}: ", "weight": "Bolder"}, {"text": value})
        for name, value in params.facts.items()
    ]
    return cards.card(
        [*title, *cards.lines(params.text, markup=params.markup), *facts],
        fallback=params.title or params.text[:200] or "a message",
        link=params.link,
        link_title=params.link_title,
    )


@msteams.notice("chat", by="message", addressed=False)
def notice(told: Notice) -> dict[str, Any]:
    return {"text": f"{told.title}\n{told.data['sentence']}\n{told.data['url']}"}
