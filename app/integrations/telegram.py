"""Telegram: a bot that posts messages, photos and documents, and starts rules from what is written to it."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, SecretStr, ValidationInfo, field_validator

from app.sdk import inbound, values
from app.sdk.context import FileRef
from app.sdk.declare import Context, InboundRequest, Integration, Occurrence, Reply, Sample
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.multipart import Upload, multipart
from app.sdk.said import shown
from app.sdk.telegram_bot import call
from app.sdk.telegram_updates import NOT_FOR_THIS_RULE, read_update

telegram = Integration(
    module=__name__, title="Telegram", about="let a bot post to a chat, and start rules from what it is told"
)

_UPLOAD_DEADLINE_S: Final = 60.0
# https://core.telegram.org/bots/api#sending-files
_MOST_BYTES: Final = {"photo": 10 * 1024 * 1024, "document": 50 * 1024 * 1024}


def _is_chat(typed: str) -> str:
    if not re.fullmatch(r"-?\d{1,20}|@\w{4,40}", typed.strip(), re.ASCII):
        raise ValueError("must be a chat's number, or the @name of a channel")
    return typed.strip()


Chat: TypeAlias = Annotated[Text, AfterValidator(_is_chat)]


@telegram.connection
class Bot(Settings):
    """A bot. Write /newbot to @BotFather in Telegram, and it gives you the token."""

    bot_token: SecretStr = setting(
        "Bot token",
        help="whoever knows it can speak as the bot",
        example="123456789:AAExampleExampleExampleExampleExampl",
        where="@BotFather → /mybots → your bot → API token",
    )
    hook_secret: SecretStr = setting(
        "Secret of calls",
        SecretStr(""),
        help="any 16 letters and digits or more; the trigger needs it, and the action that turns it on tells telegram",
        example="k3-Zt7-Q9d-fW2-x8M",
        where="make one up",
    )

    @field_validator("bot_token")
    @classmethod
    def _is_token(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value().strip()
        if not re.fullmatch(r"\d{3,20}:[A-Za-z0-9_-]{20,100}", text, re.ASCII):
            raise ValueError("must look like 123456789:AA…; copy it whole from @BotFather")
        return SecretStr(text)

    @field_validator("hook_secret")
    @classmethod
    def _is_secret(cls, secret: SecretStr) -> SecretStr:
        if not re.fullmatch(r"([A-Za-z0-9_-]{16,256})?", secret.get_secret_value(), re.ASCII):
            raise ValueError("must have at least 16 letters, digits, _ or -, and nothing else")
        return secret


@telegram.check
def check(ctx: Context, connection: Bot) -> str:
    """Asks for the bot's own name; nothing is posted."""
    known = call(ctx, connection.bot_token, "getMe", json={})
    return f"connected as @{shown(known.get('username'))}"


class _Post(Settings):
    """What every post says about itself."""

    chat: Chat = setting(
        "Chat",
        help="a number, as in the event of a message, or @name of a channel",
        example="{{ event.chat.id }}",
    )
    parse_mode: Literal["none", "HTML", "MarkdownV2"] = setting(
        "Markup", "none", help="with markup, values are not made harmless"
    )
    silent: bool = setting("Without a sound", False)
    reply_to: int | None = setting("Answer to", None, help="the id of a message in the chat", ge=1)

    def common(self) -> dict[str, Any]:
        common: dict[str, Any] = {"chat_id": self.chat}
        if self.parse_mode != "none":
            common["parse_mode"] = self.parse_mode
        if self.silent:
            common["disable_notification"] = True
        if self.reply_to:
            common["reply_parameters"] = {"message_id": self.reply_to}
        return common


class Message(_Post):
    """A message."""

    text: Text = setting(
        "Text", example="order {{ event.order }}", widget="textarea", min_length=1, max_length=4096
    )
    preview: bool = setting("Show what links lead to", False)


_POSTED: Final = {"message_id": 42, "chat": {"id": -1001234567890, "title": "Orders"}}


@telegram.action(
    "Post a message",
    idempotent=False,
    samples=[Sample({"chat": "-1001234567890", "text": "order A-1001 over 150"}, _POSTED)],
)
def message(ctx: Context, connection: Bot, params: Message) -> Mapping[str, Any]:
    """Posts a message to a person, group or channel. Values are text, unless you choose a markup."""
    options = {"text": params.text, "link_preview_options": {"is_disabled": not params.preview}}
    sent = call(ctx, connection.bot_token, "sendMessage", chat=params.chat, json=params.common() | options)
    return _posted(sent)


class Media(_Post):
    """A file, and what is written below it."""

    file: FileRef | None = setting("File", None, help="of an earlier step", example="{{ steps.export.file }}")
    url: Text = setting(
        "Or its address",
        "",
        help="public, from where telegram fetches it",
        max_length=2000,
        validate_default=True,
    )
    caption: Text = setting("Caption", "", widget="textarea", max_length=1024)

    @field_validator("url")
    @classmethod
    def _is_one(cls, url: str, info: ValidationInfo) -> str:
        if "file" in info.data and bool(url) == bool(info.data["file"]):
            raise ValueError("give a file or an address, one of them")
        if url and not re.match(r"https?://[^\s/]", url):
            raise ValueError("must begin with https://")
        return url


@telegram.action(
    "Post a photo",
    idempotent=False,
    samples=[Sample({"chat": "-1001234567890", "url": "https://shop.example/lamp.jpg"}, _POSTED)],
)
def photo(ctx: Context, connection: Bot, params: Media) -> Mapping[str, Any]:
    """Posts a picture of up to 10 MB."""
    return _media(ctx, connection, "photo", params)


@telegram.action(
    "Post a document",
    idempotent=False,
    samples=[Sample({"chat": "-1001234567890", "url": "https://shop.example/order.pdf"}, _POSTED)],
)
def document(ctx: Context, connection: Bot, params: Media) -> Mapping[str, Any]:
    """Posts a file as it is."""
    return _media(ctx, connection, "document", params)


def _media(ctx: Context, connection: Bot, kind: str, params: Media) -> Mapping[str, Any]:
    method = f"send{kind.capitalize()}"
    given = params.common() | ({"caption": params.caption} if params.caption else {})
    if params.file is None:
        return _posted(
            call(ctx, connection.bot_token, method, chat=params.chat, json={**given, kind: params.url})
        )
    file = ctx.files.find(params.file)
    if file.bytes > _MOST_BYTES[kind]:
        raise RejectedError(
            f"{file.name} is larger than the {_MOST_BYTES[kind] // 1024**2} MB that telegram takes for a {kind}"
        )
    fields = {name: values.text(value) for name, value in given.items()}
    upload = Upload(kind, file.name, file.type, b"".join(ctx.files.open(file)))
    content_type, body = multipart(fields, upload)
    headers, wait = {"Content-Type": content_type}, _UPLOAD_DEADLINE_S
    sent = call(
        ctx, connection.bot_token, method, chat=params.chat, deadline_s=wait, headers=headers, content=body
    )
    return _posted(sent)


def _posted(sent: Mapping[str, Any]) -> Mapping[str, Any]:
    chat = sent.get("chat") or {}
    return {
        "message_id": sent.get("message_id"),
        "chat": {"id": chat.get("id"), "title": chat.get("title") or chat.get("first_name")},
    }


class Address(Settings):
    """Where the bot's messages go."""

    url: Text = setting(
        "Address of the rule",
        help="begins with https://; empty: nowhere",
        example="https://bq.example/hooks/x",
    )


@telegram.action(
    "Send what the bot is told to a rule",
    idempotent=True,
    samples=[Sample({"url": "https://bq.example/hooks/x"}, {"on": True})],
)
def listen(ctx: Context, connection: Bot, params: Address) -> Mapping[str, Any]:
    """Needed once for the trigger: tells Telegram the rule's address and the secret of the connection."""
    secret = connection.hook_secret.get_secret_value()
    if params.url and not secret:
        raise RejectedError("the connection has no secret of calls; make one up there first")
    given = {"url": params.url.strip(), "allowed_updates": ["message", "edited_message", "channel_post"]}
    call(ctx, connection.bot_token, "setWebhook", json=given | ({"secret_token": secret} if secret else {}))
    return {"on": bool(params.url.strip())}


class Heard(Settings):
    """Which messages count."""

    chat: Text = setting("Only in chat", "", help="its number; without it, wherever the bot is")
    edited: bool = setting("Changes of messages too", False)


@telegram.hook(
    "New message",
    samples=[
        {
            "text": "is order A-1001 paid?",
            "kind": "message",
            "message_id": 42,
            "chat": {"id": -1001234567890, "type": "supergroup", "title": "Orders"},
            "from": {"id": 12345, "name": "Ada Example", "username": "ada"},
            "at": "2026-11-21T09:00:00.000Z",
            "file": None,
        }
    ],
)
def received(request: InboundRequest, connection: Bot, params: Heard) -> list[Occurrence] | Reply:
    """Starts when somebody writes to the bot. Run the action that sends what it is told to a rule once before."""
    inbound.verify_token(
        request, connection.hook_secret.get_secret_value(), header="X-Telegram-Bot-Api-Secret-Token"
    )
    found = read_update(inbound.read_json(request), edited=params.edited)
    if found is None or (params.chat.strip() and str(found.data["chat"]["id"]) != params.chat.strip()):
        return NOT_FOR_THIS_RULE
    return [found]
