"""Discord: post messages through a webhook of a channel."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import field_validator

from app.sdk import discord as api
from app.sdk.declare import Context, Integration
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.notices import Notice
from app.sdk.said import shown
from app.sdk.shapes import Objects, shaped

discord = Integration(module=__name__, title="Discord", about="post messages to a channel of your server")

_MOST_CHARS: Final = 2_000

ThreadId: TypeAlias = Annotated[Text, shaped(r"[0-9]{0,25}", "must be the thread's id, a long number")]


@discord.connection
class ChannelWebhook(Settings):
    """A webhook belongs to one channel. Make it in Discord under the channel's settings."""

    webhook_url: api.WebhookUrl = setting(
        "Webhook URL",
        help="whoever knows it can post to the channel",
        example=f"{api.DISCORD}/api/webhooks/123456789012345678/AbCdEfGhIjKlMnOpQrSt",
        where="channel → edit channel → integrations → webhooks → copy webhook url",
    )


@discord.check
def check(ctx: Context, connection: ChannelWebhook) -> str:
    """Asks for the webhook's own name; nothing is posted."""
    known = api.call(ctx, connection.webhook_url, "GET")
    return f"discord knows this webhook as {shown(known.get('name'))}; nothing was posted"


class Message(Settings):
    """A message to the channel of the webhook."""

    text: Text = setting(
        "Text",
        "",
        example="order {{ event.order }} over {{ event.total }}",
        widget="textarea",
        max_length=2_000,
    )
    embeds: Objects = setting(
        "Embeds",
        [],
        help="a JSON list of boxes below the text, with title, description, url, color and fields",
        example=[{"title": "order {{ event.order }}", "description": "over {{ event.total }}"}],
        widget="code",
        max_length=10,
        validate_default=True,
    )
    markup: bool = setting(
        "Text has Discord markup", False, help="bold, links and the like; values are then not made harmless"
    )
    notify: Literal["nobody", "people", "here", "everyone"] = setting(
        "Notify",
        "nobody",
        choices={
            "people": "who is named in the markup as <@id>",
            "here": "who is online",
            "everyone": "everyone",
        },
    )
    thread_id: ThreadId = setting("Thread", "", help="its id, for a message in a thread")
    username: Text = setting("Shown as", "", help="instead of the webhook's own name", max_length=80)

    @field_validator("embeds")
    @classmethod
    def _says_something(cls, embeds: list[dict[str, Any]], info: Any) -> list[dict[str, Any]]:
        if not embeds and not info.data.get("text", "-").strip():
            raise ValueError("write a text, embeds, or both")
        return embeds


_ALLOWED: Final = {"nobody": [], "people": ["users", "roles"], "here": ["everyone"], "everyone": ["everyone"]}


@discord.action("Post a message", idempotent=False)
def message(ctx: Context, connection: ChannelWebhook, params: Message) -> Mapping[str, Any]:
    """Posts a message. Values cannot call anybody; only the notify field can."""
    body: dict[str, Any] = {
        "content": _content(params),
        "allowed_mentions": {"parse": _ALLOWED[params.notify]},
    }
    if params.embeds:
        body["embeds"] = params.embeds if params.markup else api.harmless(params.embeds)
    if params.username:
        body["username"] = params.username
    # Without wait, Discord answers before it knows whether the message is stored.
    query = {"wait": "true", "thread_id": params.thread_id or None}
    posted = api.call(ctx, connection.webhook_url, "POST", params=query, json=body)
    return {"message_id": posted.get("id"), "channel_id": posted.get("channel_id")}


def _content(params: Message) -> str:
    # What is allowed for the prefix is allowed for the whole text: a space without width keeps values out.
    text = re.sub(
        r"@(?=everyone|here)", "@\u200b", params.text if params.markup else api.escaped(params.text)
    )
    content = f"@{params.notify} {text}" if params.notify in {"here", "everyone"} else text
    if len(content) > _MOST_CHARS:
        raise RejectedError(f"the text is longer than discord's {_MOST_CHARS} characters; shorten it")
    return content


@discord.notice("chat", by="message", addressed=False)
def notice(told: Notice) -> dict[str, Any]:
    return {"text": f"{told.title}\n{told.data['sentence']}\n{told.data['url']}"}
