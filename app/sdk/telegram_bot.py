"""Telegram's Bot API: calling a method, and what its refusals mean."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr

from app.sdk import values
from app.sdk.answers import Answer
from app.sdk.context import Context
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.said import is_later, json_object, not_now, sentence

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
    url = f"{(ctx.base_url or _TELEGRAM).rstrip('/')}/bot{bot_token.get_secret_value()}/{method}"
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
