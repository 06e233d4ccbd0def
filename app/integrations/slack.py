"""Slack: post messages through an incoming webhook."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import SecretStr

from app.sdk.declare import Context, Integration
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.fields import Settings, Text, setting
from app.sdk.http import parse_retry_after
from app.sdk.notices import Notice
from app.sdk.shapes import shaped
from app.sdk.slack import Notify, webhook_client, written
from app.sdk.urls import parse_url

slack = Integration(
    module=__name__, title="Slack (webhook)", about="post messages to one channel; with a bot, take slack app"
)

_SLACK: Final = "https://hooks.slack.com"
# Slack answers so to an empty message at an address that exists: https://docs.slack.dev/messaging
_EMPTY: Final = frozenset({"no_text", "invalid_payload", "missing_text_or_fallback_or_attachments"})
_DEAD: Final = frozenset(
    {"invalid_token", "no_service", "no_service_id", "no_team", "team_disabled", "no_active_hooks"}
)
_MENDS: Final = {
    "channel_is_archived": "the channel is archived; unarchive it, or connect a webhook of another channel",
    "channel_not_found": "the channel is gone; connect a webhook of another channel",
    "user_not_found": "the person is gone; connect a webhook of another channel",
    "action_prohibited": "an admin of the workspace restricts posting; ask them",
    "posting_to_general_channel_denied": "only admins may post in #general; connect a webhook of another channel",
    "too_many_attachments": "the message has too many attachments",
    "no_text": "the message is empty; write a text",
}
_NOT_TAKEN: Final = frozenset({429, 500, 503})

WebhookUrl: TypeAlias = Annotated[
    SecretStr, shaped(r"https?://[^/\s?#@]+/\S+", f"must be an address that begins with {_SLACK}/")
]


@slack.connection
class IncomingWebhook(Settings):
    """An incoming webhook belongs to one channel. Make it at api.slack.com/apps under incoming webhooks."""

    webhook_url: WebhookUrl = setting(
        "Webhook URL",
        help="whoever knows it can post to the channel",
        example=f"{_SLACK}/services/T0000/B0000/XXXXXXXX",
        where="at api.slack.com/apps → your app → incoming webhooks → add new webhook",
    )


def _client(ctx: Context, connection: IncomingWebhook) -> Any:
    url = connection.webhook_url.get_secret_value()
    if not ctx.base_url and parse_url(url).origin != parse_url(_SLACK).origin:
        raise RejectedError(
            f"the webhook url must begin with {_SLACK}/; copy it from your app at api.slack.com/apps"
        )
    return webhook_client(ctx.http, ctx.placed(url))


def _failure(ctx: Context, response: Any) -> IntegrationError:
    said = response.body if re.fullmatch(r"[a-z_]{1,60}", response.body) else "no reason given"
    status = response.status_code
    if said in _MENDS:
        return RejectedError(f"slack did not take the message: {_MENDS[said]}")
    if said in _DEAD or status in {401, 403, 404, 410}:
        return AuthError(f"slack no longer knows this webhook ({said}); make a new one and connect it")
    if status == 429 or status >= 500:
        after = parse_retry_after(response.headers.get("retry-after"), ctx.now)
        return TemporaryError(
            f"slack cannot take this now ({status})", after=after, sent=status not in _NOT_TAKEN
        )
    return RejectedError(f"slack did not take the message ({status} {said})")


@slack.check
def check(ctx: Context, connection: IncomingWebhook) -> str:
    """Sends a message without content, which Slack refuses unseen, and in another way than an unknown webhook."""
    response = _client(ctx, connection).send_dict({"text": None})
    if response.status_code == 400 and response.body in _EMPTY:
        return "slack knows this webhook; nothing was posted"
    raise _failure(ctx, response)


class Message(Settings):
    """A message to the channel of the webhook."""

    text: Text = setting(
        "Text",
        example="order {{ event.order }} over {{ event.total }}",
        widget="textarea",
        min_length=1,
        max_length=40_000,
    )
    markup: bool = setting(
        "Text has Slack markup",
        False,
        help="links as <https://example.com|words>; values are then not made harmless",
    )
    notify: Notify = setting(
        "Notify", "nobody", choices={"here": "who is online", "channel": "everyone in the channel"}
    )


@slack.action("Post a message", idempotent=False)
def message(ctx: Context, connection: IncomingWebhook, params: Message) -> Mapping[str, Any]:
    """Posts a message. Values cannot call the whole channel; only the notify field can."""
    text = written(params.text, markup=params.markup, notify=params.notify)
    response = _client(ctx, connection).send(text=text)
    if response.status_code != 200:
        raise _failure(ctx, response)
    return {"posted": True, "text": text}


@slack.notice("chat", by="message", addressed=False)
def notice(told: Notice) -> dict[str, Any]:
    return {"text": f"{told.title}\n{told.data['sentence']}\n{told.data['url']}"}
