"""Discord: calling a channel's webhook, what its refusals mean, and text that is no markup."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias

from pydantic import SecretStr

from app.sdk.answers import Answer
from app.sdk.context import Context
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.said import is_later, json_object, not_now, sentence
from app.sdk.shapes import shaped

DISCORD: Final = "https://discord.com"
_DEADLINE_S: Final = 20.0
_URL: Final = r"(?a:https://(?:(?:canary|ptb)\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/(\d{5,25})/([\w-]{10,200})/?)"
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
# What people read of an embed.
_SHOWN: Final = frozenset({"title", "description", "name", "value", "text"})


WebhookUrl: TypeAlias = Annotated[
    SecretStr, shaped(_URL, f"must look like {DISCORD}/api/webhooks/…/…; copy it whole from discord")
]


def call(ctx: Context, webhook: SecretStr, method: str, **sent: Any) -> Mapping[str, Any]:
    """What Discord answers for a webhook. The address is the secret: nothing may repeat it."""
    found = re.fullmatch(_URL, webhook.get_secret_value())
    assert found
    url = ctx.placed(f"{DISCORD}/api/v10/webhooks/{found[1]}/{found[2]}")
    answer = ctx.http.request(method, url, deadline_s=_DEADLINE_S, follow_redirects=False, **sent)
    if 200 <= answer.status < 300:
        return json_object(answer)
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


def escaped(text: str) -> str:
    """Text that Discord shows as it is: https://support.discord.com/hc/en-us/articles/210298617"""
    parts = _LINK.split(text)
    return "".join(part if at % 2 else _MARKUP.sub(_escape, part) for at, part in enumerate(parts))


def _escape(found: re.Match[str]) -> str:
    if found[1]:
        return "\\" + found[1]
    marker = found[3]
    return f"{found[2]}\\{marker}" if marker == "-" else f"{found[2]}{marker[:-1]}\\."


def harmless(value: Any, *, shown: bool = False) -> Any:
    """Embeds in which what people read is escaped, and addresses are not."""
    if isinstance(value, Mapping):
        return {name: harmless(each, shown=name in _SHOWN) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [harmless(each) for each in value]
    return escaped(value) if shown and isinstance(value, str) else value
