"""Slack: its own clients sent through ours, what its errors mean, and text that calls nobody."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, Final, Literal, TypeAlias

from pydantic import SecretStr

from app.sdk.answers import Answer, parse_retry_after
from app.sdk.context import Context
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.http import HttpClient
from app.sdk.lazily import lazily
from app.sdk.said import json_object
from app.sdk.urls import parse_url

Notify: TypeAlias = Literal["nobody", "here", "channel"]

_sdk: Any = lazily("slack_sdk")

_SLACK: Final = "https://slack.com"
_FILES: Final = "https://files.slack.com"
_DEADLINE_S: Final = 20.0
_UPLOAD_DEADLINE_S: Final = 60.0
_OWN_HEADERS: Final = frozenset({"content-length", "host"})
_CALLS_EVERYONE: Final = re.compile(r"<(?=!(?:channel|here|everyone|subteam))")
# Elements that call many people without any text.
_CALLING: Final = frozenset({"broadcast", "usergroup"})
_CODE: Final = re.compile(r"[a-z0-9_]{1,60}")
_SCOPES: Final = re.compile(r"[a-z0-9_.:, -]{1,200}")
# Nothing can be seen in Slack until the last call of an upload, and reading changes nothing.
_HARMLESS: Final = frozenset({"auth.test", "users.lookupByEmail", "files.getUploadURLExternal"})

# https://docs.slack.dev/reference/methods/chat.postMessage#errors, and the same of the other methods
_DEAD: Final = frozenset(
    {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "user_removed_from_team",
     "no_permission", "org_login_required", "not_allowed_token_type", "team_access_not_granted", "invalid_token",
     "two_factor_setup_required", "access_denied"}
)  # fmt: skip
_BUSY: Final = frozenset({"ratelimited", "rate_limited", "service_unavailable", "team_added_to_org"})
_UNKNOWN: Final = frozenset({"internal_error", "fatal_error", "request_timeout", "accesslimited"})
_MENDS: Final = {
    "channel_not_found": "there is no channel {channel} that the app can see; invite the app with /invite, or take "
    "the channel's id",
    "is_archived": "the channel {channel} is archived; unarchive it or take another one",
    "channel_is_archived": "the channel {channel} is archived; unarchive it or take another one",
    "not_in_channel": "the app is not in {channel}; invite it there with /invite, or let it join first",
    "method_not_supported_for_channel_type": "this cannot be done in {channel}; take a public channel",
    "restricted_action": "an admin of the workspace restricts this; ask them",
    "restricted_action_read_only_channel": "only some people may post in {channel}; ask an admin",
    "cannot_dm_bot": "{channel} is a bot, and bots cannot write to each other",
    "message_not_found": "there is no message {ts} in {channel}; take the ts of an earlier step",
    "thread_not_found": "there is no message {ts} in {channel} to answer; take the ts of an earlier step",
    "cant_update_message": "only the app's own messages can be changed",
    "edit_window_closed": "the workspace does not allow changes to messages this old",
    "msg_too_long": "the text is too long; shorten it",
    "no_text": "the message is empty; write a text",
    "invalid_blocks": "the blocks are not as slack wants them; try them in its block kit builder",
    "invalid_blocks_format": "the blocks are not as slack wants them; try them in its block kit builder",
    "invalid_name": "there is no emoji {name} in this workspace",
    "too_many_reactions": "the message has as many reactions as slack allows",
    "too_many_emoji": "the message has as many emoji as slack allows",
    "users_not_found": "nobody in this workspace has the address {email}",
    "user_not_found": "there is no person {users} in this workspace; take their member id",
    "user_disabled": "{users} was removed from the workspace",
    "cannot_dm_self": "the app cannot write to itself",
    "file_uploads_disabled": "the workspace does not allow uploads; ask an admin",
    "file_upload_size_restricted": "the workspace does not allow files of this size; ask an admin",
    "storage_limit_reached": "the workspace has no room for more files",
}


def client(ctx: Context, token: str) -> Any:
    """Slack's WebClient. What it sends goes through `ctx.http`; it raises only app.sdk.errors."""
    return _web_client()(ctx, token)


@cache
def _web_client() -> Any:
    """Made when first needed: the library it stands on is slow to import."""

    class Client(_sdk.WebClient):  # type: ignore[misc]
        def __init__(self, ctx: Context, token: str) -> None:
            super().__init__(
                token, f"{_origin(ctx, _SLACK)}/api/", logger=_silent(), retry_handlers=[], timeout=20
            )
            self._ctx = ctx

        def _perform_urllib_http_request_internal(self, url: str, req: Any) -> dict[str, Any]:
            return _call(self._ctx, url, req)

        def _upload_file(self, *, url: str, data: bytes, **_options: Any) -> Any:
            return _upload(self._ctx, url, data)

    return Client


def webhook_client(http: HttpClient, url: str) -> Any:
    """Slack's WebhookClient; what it built is sent by ours, which reads no proxy variables."""
    return _webhook_client()(http, url)


@cache
def _webhook_client() -> Any:
    class Client(_sdk.WebhookClient):  # type: ignore[misc]
        def __init__(self, http: HttpClient, url: str) -> None:
            super().__init__(url, timeout=int(_DEADLINE_S), logger=_silent(), retry_handlers=[])
            self._http = http

        def _perform_http_request(self, *, body: dict[str, Any], headers: dict[str, str]) -> Any:
            answer = self._http.request(
                "POST",
                self.url,
                headers=headers,
                content=json.dumps(body),
                deadline_s=_DEADLINE_S,
                follow_redirects=False,
            )
            said = answer.text[:200].strip()
            return SimpleNamespace(status_code=answer.status, body=said, headers=answer.headers)

    return Client


def _origin(ctx: Context, usual: str) -> str:
    return ctx.base_url.rstrip("/") if ctx.base_url else usual


def _silent() -> logging.Logger:
    """The clients would log what they send."""
    logger = logging.getLogger("slack_sdk.silent")
    logger.disabled = True
    return logger


def _call(ctx: Context, url: str, req: Any) -> dict[str, Any]:
    method = url.rpartition("/")[2]
    headers = {name: value for name, value in req.headers.items() if name.lower() not in _OWN_HEADERS}
    try:
        answer = ctx.http.request(
            "POST",
            url,
            headers=headers,
            content=req.data,
            deadline_s=_DEADLINE_S,
            follow_redirects=False,
        )
        _require_ok(ctx, answer)
    except TemporaryError as error:
        error.sent = error.sent and method not in _HARMLESS
        raise
    return {"status": answer.status, "headers": answer.headers, "body": answer.text}


def _upload(ctx: Context, url: str, data: bytes) -> Any:
    """The file goes where Slack said, if that is Slack; it cannot be seen before it is completed."""
    target = parse_url(url)
    if not ctx.base_url and target.origin != parse_url(_FILES).origin:
        raise RejectedError(f"slack wants the file at {target.typed_host}, which is not {_FILES}")
    try:
        answer = ctx.http.request(
            "POST",
            _origin(ctx, _FILES) + target.path,
            content=data,
            headers={"Content-Type": "application/octet-stream"},
            deadline_s=_UPLOAD_DEADLINE_S,
            follow_redirects=False,
        )
    except TemporaryError as error:
        error.sent = False
        raise
    if answer.status != 200:
        raise TemporaryError(f"slack did not take the file ({answer.status})", sent=False)
    return SimpleNamespace(status=answer.status, body=answer.text[:100])


class SlackRefusedError(RejectedError):
    """Slack does not do this; `code` is its own word for why."""

    def __init__(self, code: str, sentence: str = "") -> None:
        super().__init__(sentence or f"slack did not do this ({code})")
        self.code = code


def call(
    ctx: Context, token: SecretStr, method: str, named: Mapping[str, str] | None = None, **arguments: Any
) -> Any:
    """What Slack answers; arguments that are empty are left out.

    `named` are the channel, ts, name, email or users that a sentence about a failure may speak of.
    """
    given = {name: value for name, value in arguments.items() if value not in (None, "", [])}
    try:
        return getattr(client(ctx, token.get_secret_value()), method)(**given)
    except SlackRefusedError as error:
        raise SlackRefusedError(error.code, _explained(error.code, named or {})) from error


def _require_ok(ctx: Context, answer: Answer) -> None:
    said = json_object(answer)
    if answer.status == 200 and said.get("ok") is True:
        return
    given = said.get("error")
    code = given if isinstance(given, str) and _CODE.fullmatch(given) else ""
    if code == "missing_scope":
        raise AuthError(
            f"the slack app lacks the scope {_scope(said)}; add it under OAuth & permissions, and install the app again"
        )
    if code in _DEAD or answer.status in {401, 403}:
        raise AuthError(
            f"slack no longer accepts this token ({code or answer.status}); install the app again and copy its token"
        )
    if code in _BUSY or answer.status in {429, 503}:
        after = parse_retry_after(answer.headers.get("retry-after"), ctx.now)
        raise TemporaryError(f"slack cannot take this now ({code or answer.status})", after=after, sent=False)
    if code in _UNKNOWN or answer.status >= 500 or not (code or answer.status >= 400):
        raise TemporaryError(f"slack failed ({code or answer.status})")
    raise SlackRefusedError(code or str(answer.status))


def _scope(said: Mapping[str, Any]) -> str:
    needed = said.get("needed")
    return needed if isinstance(needed, str) and _SCOPES.fullmatch(needed) else "that this needs"


def _explained(code: str, named: Mapping[str, str]) -> str:
    """With the way out; empty for a code that we have no words for."""
    words = {"channel": "this channel", "ts": "like this", "name": "", "email": "", "users": "like this"}
    return _MENDS.get(code, "").format(**{**words, **named})


def written(text: str, *, markup: bool, notify: Notify = "nobody") -> str:
    """https://docs.slack.dev/messaging/formatting-message-text#escaping"""
    shown = harmless(text, markup=markup)
    return shown if notify == "nobody" else f"<!{notify}> {shown}"


def harmless(text: str, *, markup: bool) -> str:
    if markup:
        return _CALLS_EVERYONE.sub("&lt;", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plain(text: str) -> str:
    """What Slack escaped in what people wrote, as they wrote it."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def harmless_blocks(value: Any, *, markup: bool) -> Any:
    """Blocks in which no value can call anybody: only Slack's own markup, `mrkdwn`, reads text as more than text."""
    if isinstance(value, Mapping):
        if value.get("type") in _CALLING:
            raise RejectedError("blocks may not call everyone; choose that in the field notify")
        inner = {name: harmless_blocks(each, markup=markup) for name, each in value.items()}
        if value.get("type") == "mrkdwn" and isinstance(value.get("text"), str):
            inner["text"] = harmless(value["text"], markup=markup)
            # Otherwise Slack makes links and mentions of what looks like one.
            inner["verbatim"] = value.get("verbatim", not markup)
        return inner
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [harmless_blocks(each, markup=markup) for each in value]
    return value
