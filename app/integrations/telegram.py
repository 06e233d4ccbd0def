"""Telegram: a bot that posts messages, photos and documents, and starts rules from what is written to it."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import SecretStr, ValidationInfo, field_validator

from app.sdk import inbound
from app.sdk import telegram_bot as bot
from app.sdk.context import FileRef
from app.sdk.declare import Context, InboundRequest, Integration, Occurrence, Reply
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.said import shown
from app.sdk.shapes import WebAddress
from app.sdk.telegram_updates import NOT_FOR_THIS_RULE, read_update

telegram = Integration(
    module=__name__, title="Telegram", about="let a bot post to a chat, and start rules from what it is told"
)


@telegram.connection
class Bot(Settings):
    """A bot. Write /newbot to @BotFather in Telegram, and it gives you the token."""

    bot_token: bot.Token = setting(
        "Bot token",
        help="whoever knows it can speak as the bot",
        example="123456789:AAExampleExampleExampleExampleExampl",
        where="@BotFather → /mybots → your bot → API token",
    )
    hook_secret: bot.HookSecret = setting(
        "Secret of calls",
        SecretStr(""),
        help="any 16 letters and digits or more; the trigger needs it, and the action that turns it on tells telegram",
        example="k3-Zt7-Q9d-fW2-x8M",
        where="make one up",
    )


@telegram.check
def check(ctx: Context, connection: Bot) -> str:
    """Asks for the bot's own name; nothing is posted."""
    known = bot.call(ctx, connection.bot_token, "getMe", json={})
    return f"connected as @{shown(known.get('username'))}"


class _Post(Settings):
    """What every post says about itself."""

    chat: bot.Chat = setting(
        "Chat",
        help="a number, as in the event of a message, or @name of a channel",
        example="{{ event.chat.id }}",
    )
    parse_mode: Literal["none", "HTML", "MarkdownV2"] = setting(
        "Markup",
        "none",
        help="with markup, values are not made harmless",
        choices={"none": "plain text", "MarkdownV2": "Markdown"},
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


@telegram.action("Post a message", idempotent=False)
def message(ctx: Context, connection: Bot, params: Message) -> bot.Posted:
    """Posts a message to a person, group or channel. Values are text, unless you choose a markup."""
    options = {"text": params.text, "link_preview_options": {"is_disabled": not params.preview}}
    return bot.post(ctx, connection.bot_token, "message", params.common() | options)


class Media(_Post):
    """A file, and what is written below it."""

    file: FileRef | None = setting("File", None, help="of an earlier step", example="{{ steps.export.file }}")
    url: WebAddress = setting(
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
        return url


@telegram.action("Post a photo", idempotent=False)
def photo(ctx: Context, connection: Bot, params: Media) -> bot.Posted:
    """Posts a picture of up to 10 MB."""
    return _media(ctx, connection, "photo", params)


@telegram.action("Post a document", idempotent=False)
def document(ctx: Context, connection: Bot, params: Media) -> bot.Posted:
    """Posts a file as it is."""
    return _media(ctx, connection, "document", params)


def _media(ctx: Context, connection: Bot, kind: Literal["photo", "document"], params: Media) -> bot.Posted:
    given = params.common() | ({"caption": params.caption} if params.caption else {})
    if params.url:
        given[kind] = params.url
    return bot.post(ctx, connection.bot_token, kind, given, file=params.file)


class Address(Settings):
    """Where the bot's messages go."""

    url: Text = setting(
        "Address of the rule",
        help="begins with https://; empty: nowhere",
        example="https://bq.example/hooks/x",
    )


@telegram.action("Send what the bot is told to a rule", idempotent=True)
def listen(ctx: Context, connection: Bot, params: Address) -> Mapping[str, Any]:
    """Needed once for the trigger: tells Telegram the rule's address and the secret of the connection."""
    secret = connection.hook_secret.get_secret_value()
    if params.url and not secret:
        raise RejectedError("the connection has no secret of calls; make one up there first")
    told = {"url": params.url.strip(), "allowed_updates": ["message", "edited_message", "channel_post"]}
    if secret:
        told["secret_token"] = secret
    bot.call(ctx, connection.bot_token, "setWebhook", json=told)
    return {"on": bool(params.url.strip())}


class Heard(Settings):
    """Which messages count."""

    chat: Text = setting("Only in chat", "", help="its number; without it, wherever the bot is")
    edited: bool = setting("Changes of messages too", False)


@telegram.hook("New message")
def received(request: InboundRequest, connection: Bot, params: Heard) -> list[Occurrence] | Reply:
    """Starts when somebody writes to the bot. Run the action that sends what it is told to a rule once before."""
    inbound.verify_token(
        request, connection.hook_secret.get_secret_value(), header="X-Telegram-Bot-Api-Secret-Token"
    )
    found = read_update(inbound.read_json(request), edited=params.edited)
    if found is None or (params.chat.strip() and str(found.data["chat"]["id"]) != params.chat.strip()):
        return NOT_FOR_THIS_RULE
    return [found]
