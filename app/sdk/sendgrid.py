"""SendGrid: its own client sent through ours, and what its errors mean."""

import base64
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Final, Literal, TypeAlias

from app.sdk.answers import Answer, parse_retry_after
from app.sdk.context import Context, FileRef, Files
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.lazily import lazily
from app.sdk.mail import parse_address

_library: Any = lazily("sendgrid")

Region: TypeAlias = Literal["global", "eu"]

# SendGrid takes 30 MB, and base64 makes a third more of a file.
MAX_ATTACHED_BYTES: Final = 20 * 1024 * 1024

_HOSTS: Final[Mapping[str, str]] = {"global": "https://api.sendgrid.com", "eu": "https://api.eu.sendgrid.com"}
_DEADLINE_S: Final = 60.0
_MAX_SAID_CHARS: Final = 200
# Said with 401, although the key is right.
_OUT_OF_CREDITS: Final = "maximum credits exceeded"
_UNTIL_MORE_CREDITS_S: Final = 3600.0
_UNVERIFIED: Final = "verified sender identity"


@dataclass(frozen=True, slots=True)
class Call:
    """A way of calling the API; `scope` is the right that a key needs for it."""

    path: tuple[str, ...]
    scope: str
    method: Literal["get", "post", "put"] = "post"


@dataclass(frozen=True, slots=True)
class _Response:
    """What SendGrid's client expects of urllib."""

    answer: Answer

    def getcode(self) -> int:
        return self.answer.status

    def read(self) -> bytes:
        return self.answer.body

    def info(self) -> Mapping[str, str]:
        return self.answer.headers


@dataclass(frozen=True, slots=True)
class Api:
    """SendGrid's own client over `ctx.http`. Raises only app.sdk.errors."""

    ctx: Context
    key: str
    region: Region

    def call(self, what: Call, body: Any = None) -> Any:
        """The client's response."""
        # The client would write the key into the log.
        logging.getLogger("python_http_client.client").disabled = True
        host = self.ctx.base_url.rstrip("/") if self.ctx.base_url else _HOSTS[self.region]
        resource = reduce(getattr, what.path, _library.SendGridAPIClient(self.key, host=host).client)
        # The one method in which it meets the network.
        vars(resource)["_make_request"] = partial(self._exchange, what)
        return getattr(resource, what.method)(request_body=body)

    def read(self, what: Call, body: Any = None) -> Mapping[str, Any]:
        """The JSON object of the answer, or an empty one."""
        said = self.call(what, body).to_dict
        return said if isinstance(said, dict) else {}

    def _exchange(self, what: Call, _opener: object, request: Any, **_timeout: object) -> _Response:
        answer = self.ctx.http.request(
            request.get_method(),
            request.full_url,
            headers=dict(request.header_items()),
            content=request.data or b"",
            deadline_s=_DEADLINE_S,
            follow_redirects=False,
        )
        if not 200 <= answer.status < 300:
            raise _failure(self.ctx, answer, what, self.key)
        return _Response(answer)


def _failure(ctx: Context, answer: Answer, what: Call, key: str) -> IntegrationError:
    status, said = answer.status, _said(answer, key)
    if _OUT_OF_CREDITS in said.lower():
        return TemporaryError(
            f"sendgrid has no more mails for this account ({said}); wait, or take a larger plan",
            after=_UNTIL_MORE_CREDITS_S,
            sent=False,
        )
    if _UNVERIFIED in said.lower():
        return AuthError(
            "sendgrid does not know the sender of the connection; verify it under settings → sender authentication"
        )
    if status == 401:
        return AuthError(f"sendgrid refused the api key ({said}); make a new one under settings → api keys")
    if status == 403:
        return AuthError(
            f"the api key may not do this; give it the right {what.scope} under settings → api keys ({said})"
        )
    if status == 429 or status >= 500:
        sent = status >= 500 and status != 503
        return TemporaryError(
            f"sendgrid cannot take this now ({status})", after=_after(ctx, answer), sent=sent
        )
    if status == 413:
        return RejectedError("the mail is too large for sendgrid; send a link instead of the file")
    return RejectedError(f"sendgrid did not take this: {said} ({status})")


def _after(ctx: Context, answer: Answer) -> float | None:
    """`Retry-After`, or the instant at which SendGrid begins to count again."""
    until = answer.headers.get("x-ratelimit-reset", "")
    if "retry-after" not in answer.headers and until.isdecimal() and len(until) < 12:
        return min(max(int(until) - ctx.now.timestamp(), 0.0), _UNTIL_MORE_CREDITS_S)
    return parse_retry_after(answer.headers.get("retry-after"), ctx.now)


def _said(answer: Answer, key: str) -> str:
    """`{"errors": [{"message", "field"}]}` on one line: where, and what."""
    try:
        body = answer.json()
    except RejectedError:
        body = None
    errors = body.get("errors") if isinstance(body, dict) else None
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    field, message = first.get("field"), first.get("message")
    where = f"{field}: " if field and field != "null" else ""
    text = f"{where}{message}" if isinstance(message, str) else "no reason given"
    text = " ".join(
        "".join(char if char.isprintable() else " " for char in text.replace(key, "••••")).split()
    )
    return (text[:1].lower() + text[1:_MAX_SAID_CHARS]).rstrip(". ")


def attachments(files: Files, given: Iterable[FileRef]) -> list[dict[str, str]]:
    """Stored files as SendGrid wants them, read piece by piece once all of them are known to fit."""
    found = [files.find(each) for each in given]
    if (total := sum(each.bytes for each in found)) > MAX_ATTACHED_BYTES:
        raise RejectedError(
            f"the files have {total / 1024**2:.1f} MB together, and sendgrid takes "
            f"{MAX_ATTACHED_BYTES // 1024**2}; send fewer, or a link to them"
        )
    if empty := [each.name for each in found if not each.bytes]:
        raise RejectedError(f"{empty[0]} is empty, and sendgrid takes no empty files; leave it out")
    return [
        {
            "content": _base64(files.open(each)),
            "type": each.type.partition(";")[0].strip() or "application/octet-stream",
            "filename": each.name,
            "disposition": "attachment",
        }
        for each in found
    ]


def _base64(chunks: Iterable[bytes]) -> str:
    parts, held = [], b""
    for chunk in chunks:
        held += chunk
        whole = len(held) - len(held) % 3
        parts.append(base64.b64encode(held[:whole]).decode())
        held = held[whole:]
    return "".join(parts) + base64.b64encode(held).decode()


def envelope(**groups: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """To, cc and bcc, each address once: SendGrid refuses repeats."""
    found: dict[str, list[dict[str, str]]] = {}
    seen: set[str] = set()
    for name, group in groups.items():
        for one in map(person, group):
            if one["email"].lower() not in seen:
                seen.add(one["email"].lower())
                found.setdefault(name, []).append(one)
    return found


def person(text: str) -> dict[str, str]:
    address = parse_address(text)
    name = {"name": address.display_name} if address.display_name else {}
    return {"email": address.addr_spec, **name}
