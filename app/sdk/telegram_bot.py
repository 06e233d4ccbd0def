"""Telegram's Bot API: calling a method, posting with it, and what its refusals mean."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import SecretStr

from app.sdk import values
from app.sdk.answers import Answer
from app.sdk.context import Context, FileRef
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.fields import Text
from app.sdk.multipart import Upload, multipart
from app.sdk.said import is_later, json_object, not_now, sentence
from app.sdk.shapes import shaped

_TELEGRAM: Final = "https://api.telegram.org"
_DEADLINE_S: Final = 20.0
# Telegram has only words: https://core.telegram.org/bots/api#making-requests
_MENDS: Final = {
    "chat not found": "there is no chat {chat} that the bot can see; write to the bot or add it to the group first",
    "bot was blocked": "{chat} has blocked the bot",
    "bot was kicked": "the bot was removed from {chat}; add it again",
    "bot is not a member": "the bot is not in {chat}; add it as an admin who may post",
    "user is deactivated": "{chat} has no account any more",
    "can't initiate conversation": "{chat} has to write to the bot first",
    "not enough rights": "the bot may not post in {chat}; make it an admin who may",
    "have no rights": "the bot may not post in {chat}; make it an admin who may",
    "need administrator rights": "the bot may not post in {chat}; make it an admin who may",
    "can't parse entities": "the markup is not closed or not known; correct it, or choose no markup",
    "message is too long": "the text is longer than 4096 characters; shorten it",
    "caption is too long": "the caption is longer than 1024 characters; shorten it",
    "message to be replied not found": "the message to answer is gone",
    "wrong file identifier": "telegram could not fetch the file from its address",
    "failed to get http url content": "telegram could not fetch the file from its address",
    "wrong type of the web page content": "what stands at the address is no such file",
    "photo_invalid_dimensions": "the picture is too large or too narrow for a photo; send it as a document",
    "image_process_failed": "the file is no picture that telegram knows; send it as a document",
}

_UPLOAD_DEADLINE_S: Final = 60.0
# https://core.telegram.org/bots/api#sending-files
_MOST_BYTES: Final = {"photo": 10 * 1024 * 1024, "document": 50 * 1024 * 1024}

Token: TypeAlias = Annotated[
    SecretStr,
    shaped(
        r"[0-9]{3,20}:[A-Za-z0-9_-]{20,100}", "must look like 123456789:AA…; copy it whole from @BotFather"
    ),
]
HookSecret: TypeAlias = Annotated[
    SecretStr,
    shaped(r"([A-Za-z0-9_-]{16,256})?", "must have at least 16 letters, digits, _ or -, and nothing else"),
]
Chat: TypeAlias = Annotated[
    Text, shaped(r"(?a:-?\d{1,20}|@\w{4,40})", "must be a chat's number, or the @name of a channel")
]
Posted: TypeAlias = Mapping[str, Any]


def post(
    ctx: Context, bot_token: SecretStr, kind: str, content: Mapping[str, Any], *, file: FileRef | None = None
) -> Posted:
    """A message, photo or document in the chat that `content` names; what later steps can use of it."""
    body = {"json": content} if file is None else _form(ctx, kind, content, file)
    sent = call(ctx, bot_token, f"send{kind.capitalize()}", chat=str(content["chat_id"]), **body)
    chat = sent.get("chat") or {}
    return {
        "message_id": sent.get("message_id"),
        "chat": {"id": chat.get("id"), "title": chat.get("title") or chat.get("first_name")},
    }


def _form(ctx: Context, kind: str, content: Mapping[str, Any], file: FileRef) -> dict[str, Any]:
    """Raises RejectedError before anything is sent when Telegram would not take the file."""
    found = ctx.files.find(file)
    if found.bytes > _MOST_BYTES[kind]:
        most = _MOST_BYTES[kind] // 1024**2
        raise RejectedError(f"{found.name} is larger than the {most} MB that telegram takes for a {kind}")
    upload = Upload(kind, found.name, found.type, b"".join(ctx.files.open(found)))
    content_type, body = multipart({name: values.text(value) for name, value in content.items()}, upload)
    return {"headers": {"Content-Type": content_type}, "content": body, "deadline_s": _UPLOAD_DEADLINE_S}


def call(
    ctx: Context,
    bot_token: SecretStr,
    method: str,
    *,
    chat: str = "",
    deadline_s: float = _DEADLINE_S,
    **sent: Any,
) -> Mapping[str, Any]:
    """Telegram's result. The address holds the token: nothing may repeat it."""
    url = ctx.placed(f"{_TELEGRAM}/bot{bot_token.get_secret_value()}/{method}")
    answer = ctx.http.request("POST", url, deadline_s=deadline_s, follow_redirects=False, **sent)
    said = json_object(answer)
    if answer.status == 200 and said.get("ok") is True:
        result = said.get("result")
        return result if isinstance(result, dict) else {}
    raise _failure(ctx, answer, said, chat)


def _failure(ctx: Context, answer: Answer, said: Mapping[str, Any], chat: str) -> IntegrationError:
    about = values.text(said.get("description"))
    more = said.get("parameters")
    told: Mapping[str, Any] = more if isinstance(more, dict) else {}
    if answer.status in {401, 404}:
        return AuthError(
            f"telegram does not know this bot ({answer.status}); copy its token again from @BotFather"
        )
    if is_later(answer):
        return not_now("telegram", answer, ctx.now, after=told.get("retry_after"))
    if answer.status < 400:
        return TemporaryError(f"telegram answered in an unknown way ({answer.status})")
    if isinstance(told.get("migrate_to_chat_id"), int):
        return RejectedError(
            f"the group {chat} became a supergroup; use {told['migrate_to_chat_id']} instead"
        )
    why = next((mend for words, mend in _MENDS.items() if words in about.lower()), None)
    return RejectedError(
        f"telegram did not take this: {why.format(chat=chat or 'this chat') if why else sentence(about)}"
    )
