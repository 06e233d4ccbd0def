"""The guarded HTTP client: the one way to call an address that a user typed."""

import json as jsonlib
import re
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode, urljoin

import httpcore2

from app.sdk.addresses import AddressGuard
from app.sdk.answers import Answer, parse_retry_after, raise_for_status
from app.sdk.bodies import read_body
from app.sdk.errors import RejectedError, TemporaryError
from app.sdk.urls import Target, clean_headers, looks_secret, mask_headers, parse_url
from app.sdk.wire import Line, Lines

__all__ = ["UNSET", "Answer", "HttpClient", "mask_headers", "parse_retry_after", "raise_for_status"]

MAX_BYTES = 5 * 1024 * 1024
MAX_REDIRECTS = 3
UNSET: Final[Any] = object()

_METHOD = re.compile(r"[A-Z]{1,32}")
_NEVER_METHODS = frozenset({"CONNECT", "TRACE"})
_BODYLESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
# RFC 9110 §9.2.2: only these may be sent again when a reused connection turns out to be dead.
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_HEADERS: dict[str, tuple[str, bytes]] = {
    "user-agent": ("User-Agent", b"BitQueue"),
    "accept": ("Accept", b"*/*"),
    "accept-encoding": ("Accept-Encoding", b"gzip, deflate"),
}


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: Target
    headers: dict[str, tuple[str, bytes]]
    body: bytes
    until: float
    max_bytes: int

    def head(self) -> list[tuple[bytes, bytes]]:
        lines = [(b"Host", self.target.authority.encode())]
        lines += [(name.encode(), value) for name, value in self.headers.values()]
        if self.body or self.method not in _BODYLESS:
            lines.append((b"Content-Length", str(len(self.body)).encode()))
        return lines


class HttpClient:
    """Calls http and https addresses that `guard` admits; one per process, connections are reused.

    Reads no proxy variables. Raises only app.sdk.errors; an HTTP status is not an error here, see
    `raise_for_status`.
    """

    def __init__(self, guard: AddressGuard, *, tls: ssl.SSLContext | None = None) -> None:
        self._lines = Lines(guard, tls)

    def close(self) -> None:
        self._lines.close()

    def request(  # noqa: PLR0913  what a request can say
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, object] | None = None,
        json: Any = UNSET,
        content: bytes | str | None = None,
        form: Mapping[str, object] | None = None,
        deadline_s: float = 30.0,
        max_bytes: int = MAX_BYTES,
        follow_redirects: bool = True,
        secret_headers: Iterable[str] = (),
    ) -> Answer:
        """`deadline_s` covers everything, redirects and body included; `max_bytes` is counted after decoding.

        `secret_headers` names headers that must not reach another origin; well-known ones never do.
        """
        began = time.monotonic()
        content_type, body = _encode_body(json, content, form)
        sent = _DEFAULT_HEADERS | content_type | clean_headers(headers or {})
        target = parse_url(url, params)
        request = _Request(_checked_method(method), target, sent, body, began + deadline_s, max_bytes)
        secret = frozenset(name.lower() for name in secret_headers)
        for hop in range(MAX_REDIRECTS + 1):
            with _after(already_sent=hop > 0):
                status, answered, received = self._exchange(request)
            following = _redirected(request, status, answered, secret) if follow_redirects else None
            if following is None:
                elapsed_ms = int((time.monotonic() - began) * 1000)
                return Answer(status, answered, received, str(request.target), elapsed_ms)
            request = following
        raise RejectedError(
            f"{target.typed_host} redirects more than {MAX_REDIRECTS} times; use the last url"
        )

    def _exchange(self, request: _Request) -> tuple[int, dict[str, str], bytes]:
        line = self._take(request)
        try:
            return self._converse(line, request)
        except TemporaryError as error:
            may_repeat = not error.sent or request.method in _REPEATABLE
            if not (line.reused and may_repeat and time.monotonic() < request.until):
                raise
            already_sent = error.sent
        with _after(already_sent=already_sent):
            return self._converse(self._take(request, fresh=True), request)

    def _take(self, request: _Request, *, fresh: bool = False) -> Line:
        target = request.target
        return self._lines.take(target.origin, target.typed_host, request.until, fresh=fresh)

    def _converse(self, line: Line, request: _Request) -> tuple[int, dict[str, str], bytes]:
        try:
            with _told_apart(line, request.target.typed_host):
                response = line.http.handle_request(_wire_request(request))
                try:
                    headers = _joined(response.headers)
                    return response.status, headers, _body_of(response, headers, request)
                finally:
                    response.close()
        finally:
            self._lines.give_back(line)


@contextmanager
def _after(*, already_sent: bool) -> Iterator[None]:
    """A second hop or try that never left does not undo the first one that did."""
    try:
        yield
    except TemporaryError as error:
        error.sent = error.sent or already_sent
        raise


@contextmanager
def _told_apart(line: Line, host: str) -> Iterator[None]:
    """Not sent is known only while no byte of the request has left."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise TemporaryError(f"{host} did not answer in time", sent=line.stream.written) from error
    except httpcore2.LocalProtocolError as error:
        raise RejectedError(f"this request to {host} cannot be sent: {error}") from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        message = f"{host} broke off before its answer was complete"
        raise TemporaryError(message, sent=line.stream.written) from error
    except zlib.error as error:
        raise TemporaryError(f"{host} sent a compressed answer that is damaged or cut short") from error


def _wire_request(request: _Request) -> httpcore2.Request:
    target = request.target
    return httpcore2.Request(
        request.method,
        httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
        headers=request.head(),
        content=request.body,
        extensions={"timeout": {"read": request.until, "write": request.until}},
    )


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _body_of(response: httpcore2.Response, headers: Mapping[str, str], request: _Request) -> bytes:
    host, empty = request.target.typed_host, request.method == "HEAD"
    return read_body(response.iter_stream(), headers, host=host, max_bytes=request.max_bytes, empty=empty)


def _checked_method(method: str) -> str:
    name = method.upper()
    if not _METHOD.fullmatch(name) or name in _NEVER_METHODS:
        raise RejectedError(
            "this method cannot be used; choose GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS"
        )
    return name


def _encode_body(
    json: Any, content: bytes | str | None, form: Mapping[str, object] | None
) -> tuple[dict[str, tuple[str, bytes]], bytes]:
    try:
        if json is not UNSET:
            text = jsonlib.dumps(json, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            return _content_type(b"application/json"), text.encode()
        if form is not None:
            return _content_type(b"application/x-www-form-urlencoded"), urlencode(form, doseq=True).encode()
        return {}, content.encode() if isinstance(content, str) else content or b""
    except (ValueError, TypeError, RecursionError):
        raise RejectedError(
            "the body contains a value that cannot be sent, such as NaN or half a character"
        ) from None


def _content_type(value: bytes) -> dict[str, tuple[str, bytes]]:
    return {"content-type": ("Content-Type", value)}


def _redirected(
    request: _Request, status: int, answered: Mapping[str, str], secret: frozenset[str]
) -> _Request | None:
    """The request a browser would send next; the address is checked again when it is connected to."""
    if status not in _REDIRECTS or not answered.get("location"):
        return None
    target = _following(request.target, answered["location"])
    headers = request.headers
    if _leaves(request.target, target):
        kept = {name for name in headers if name not in secret and not looks_secret(name)}
        headers = {name: pair for name, pair in headers.items() if name in kept}
    if not _becomes_get(request.method, status):
        return replace(request, target=target, headers=headers)
    headers = {name: pair for name, pair in headers.items() if not name.startswith("content-")}
    return replace(request, target=target, headers=headers, method="GET", body=b"")


def _becomes_get(method: str, status: int) -> bool:
    return method == "POST" if status in {301, 302} else status == 303 and method != "HEAD"


def _following(target: Target, location: str) -> Target:
    try:
        url = urljoin(str(target), location.encode("latin-1").decode("utf-8", errors="replace"))
    except ValueError:
        raise RejectedError(f"{target.typed_host} redirects to an address that cannot be read") from None
    return parse_url(url)


def _leaves(here: Target, there: Target) -> bool:
    """Another origin; only the step from http to https of the same name keeps credentials."""
    upgraded = (here.scheme, here.port, there.scheme, there.port) == ("http", 80, "https", 443)
    return here.origin != there.origin and not (upgraded and here.host == there.host)
