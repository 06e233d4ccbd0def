"""Discord: post messages through a webhook of a channel."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import SecretStr, field_validator

from app.sdk.answers import Answer
from app.sdk.declare import Context, Integration, Sample
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.fields import Settings, Text, setting
from app.sdk.json_lists import Objects
from app.sdk.said import is_later, json_object, not_now, sentence, shown

discord = Integration(module=__name__, title="Discord", about="post messages to a channel of your server")

_DISCORD: Final = "https://discord.com"
_DEADLINE_S: Final = 20.0
_MOST_CHARS: Final = 2_000
_URL: Final = re.compile(
    r"https://(?:(?:canary|ptb)\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/(\d{5,25})/([\w-]{10,200})/?",
    re.ASCII,
)
# Links stay whole: nothing in them is read as markup but what is left out here.
_LINK: Final = re.compile(r"(https?://[^\s<>()\[\]`|*\\]+)")
_MARKUP: Final = re.compile(r"([\\*_~`|<>\[\]()#])|^(\s*)(-|\d+\.)(?=\s)", re.MULTILINE)
# https://docs.discord.com/developers/topics/opcodes-and-status-codes#json
_GONE: Final = frozenset({10015, 50027})
_MENDS: Final = {
    10003: "the thread is gone; correct its id",
    50006: "the message is empty; write a text or an embed",
    50083: "the thread is archived; unarchive it or take another one",
    160005: "the thread is locked; unlock it or take another one",
    220001: "the channel is a forum, which takes messages only in a thread; give a thread id",
    220003: "only the channels of a forum have such threads; leave the thread id empty",
    240000: "the server's filter blocked the message",
}
_SHOWN: Final = frozenset({"title", "description", "name", "value", "text"})


@discord.connection
class ChannelWebhook(Settings):
    """A webhook belongs to one channel. Make it in Discord under the channel's settings."""

    webhook_url: SecretStr = setting(
        "Webhook URL",
        help="whoever knows it can post to the channel",
        example=f"{_DISCORD}/api/webhooks/123456789012345678/AbCdEfGhIjKlMnOpQrSt",
        where="channel → edit channel → integrations → webhooks → copy webhook url",
    )

    @field_validator("webhook_url")
    @classmethod
    def _is_url(cls, url: SecretStr) -> SecretStr:
        if not _URL.fullmatch(url.get_secret_value().strip()):
            raise ValueError(f"must look like {_DISCORD}/api/webhooks/…/…; copy it whole from discord")
        return SecretStr(url.get_secret_value().strip())


@discord.check
def check(ctx: Context, connection: ChannelWebhook) -> str:
    """Asks for the webhook's own name; nothing is posted."""
    known = json_object(_call(ctx, connection, "GET"))
    return f"discord knows this webhook as {shown(known.get('name'))}; nothing was posted"


def _call(ctx: Context, connection: ChannelWebhook, method: str, **sent: Any) -> Answer:
    found = _URL.fullmatch(connection.webhook_url.get_secret_value())
    assert found
    base = (ctx.base_url or _DISCORD).rstrip("/")
    url = f"{base}/api/v10/webhooks/{found[1]}/{found[2]}"
    answer = ctx.http.request(method, url, deadline_s=_DEADLINE_S, follow_redirects=False, **sent)
    if 200 <= answer.status < 300:
        return answer
    raise _failure(ctx, answer)


def _failure(ctx: Context, answer: Answer) -> IntegrationError:
    said = json_object(answer)
    code = said.get("code") if isinstance(said.get("code"), int) else 0
    if code in _GONE or answer.status in {401, 403} or (answer.status == 404 and not code):
        return AuthError(f"discord no longer knows this webhook ({code or answer.status}); make a new one")
    if is_later(answer):
        return not_now("discord", answer, ctx.now, after=said.get("retry_after"))
    if answer.status < 400:
        return TemporaryError(f"discord answered in an unknown way ({answer.status})")
    why = _MENDS.get(code or 0) or sentence(said.get("message"))
    return RejectedError(f"discord did not take the message: {why} ({code or answer.status})")


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
        "Notify", "nobody", help="people: who is named in the markup as <@id>; here: who is online"
    )
    thread_id: Text = setting("Thread", "", help="its id, for a message in a thread")
    username: Text = setting("Shown as", "", help="instead of the webhook's own name", max_length=80)

    @field_validator("thread_id")
    @classmethod
    def _is_id(cls, typed: str) -> str:
        if not re.fullmatch(r"\d{0,25}", typed.strip(), re.ASCII):
            raise ValueError("must be the thread's id, a long number")
        return typed.strip()

    @field_validator("embeds")
    @classmethod
    def _says_something(cls, embeds: list[dict[str, Any]], info: Any) -> list[dict[str, Any]]:
        if not embeds and not info.data.get("text", "-").strip():
            raise ValueError("write a text, embeds, or both")
        return embeds


_ALLOWED: Final = {"nobody": [], "people": ["users", "roles"], "here": ["everyone"], "everyone": ["everyone"]}


@discord.action(
    "Post a message",
    idempotent=False,
    samples=[
        Sample(
            {"text": "order A-1001 over 150"},
            {"message_id": "1440000000000000001", "channel_id": "1440000000000000000"},
        )
    ],
)
def message(ctx: Context, connection: ChannelWebhook, params: Message) -> Mapping[str, Any]:
    """Posts a message. Values cannot call anybody; only the notify field can."""
    body: dict[str, Any] = {
        "content": _content(params),
        "allowed_mentions": {"parse": _ALLOWED[params.notify]},
    }
    if params.embeds:
        body["embeds"] = params.embeds if params.markup else _harmless(params.embeds)
    if params.username:
        body["username"] = params.username
    # Without wait, Discord answers before it knows whether the message is stored.
    query = {"wait": "true", "thread_id": params.thread_id or None}
    posted = json_object(_call(ctx, connection, "POST", params=query, json=body))
    return {"message_id": posted.get("id"), "channel_id": posted.get("channel_id")}


def _content(params: Message) -> str:
    # What is allowed for the prefix is allowed for the whole text: a space without width keeps values out.
    text = re.sub(r"@(?=everyone|here)", "@\u200b", params.text if params.markup else _escaped(params.text))
    content = f"@{params.notify} {text}" if params.notify in {"here", "everyone"} else text
    if len(content) > _MOST_CHARS:
        raise RejectedError(f"the text is longer than discord's {_MOST_CHARS} characters; shorten it")
    return content


def _escaped(text: str) -> str:
    """https://support.discord.com/hc/en-us/articles/210298617"""
    parts = _LINK.split(text)
    return "".join(part if at % 2 else _MARKUP.sub(_escape, part) for at, part in enumerate(parts))


def _escape(found: re.Match[str]) -> str:
    if found[1]:
        return "\\" + found[1]
    marker = found[3]
    return f"{found[2]}\\{marker}" if marker == "-" else f"{found[2]}{marker[:-1]}\\."


def _harmless(value: Any, *, shown: bool = False) -> Any:
    if isinstance(value, Mapping):
        return {name: _harmless(each, shown=name in _SHOWN) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_harmless(each) for each in value]
    return _escaped(value) if shown and isinstance(value, str) else value
