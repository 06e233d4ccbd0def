"""Vendors' clients that speak httpx: what they build is sent by our guarded client."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Self

from app.sdk.http import MAX_BYTES, HttpClient

# Set by the connection itself, on the way out and on the way back (the body is decoded already).
_OWN_OUT: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_OWN_BACK: Final = frozenset({"content-length", "transfer-encoding", "content-encoding", "connection"})


@dataclass(frozen=True, slots=True)
class GuardedTransport:
    """An httpx transport without sockets: raises app.sdk.errors, reads no proxy variables, follows nothing."""

    http: HttpClient
    deadline_s: float
    max_bytes: int = MAX_BYTES

    def handle_request(self, request: Any) -> Any:
        answer = self.http.request(
            request.method,
            str(request.url),
            headers=_without(dict(request.headers), _OWN_OUT),
            content=request.read(),
            deadline_s=self.deadline_s,
            max_bytes=self.max_bytes,
            follow_redirects=False,
        )
        headers = _without(answer.headers, _OWN_BACK)
        return _httpx().Response(answer.status, headers=headers, content=answer.body, request=request)

    def close(self) -> None:
        """Nothing is held: the guarded client is the process's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def guarded(http: HttpClient, *, deadline_s: float, max_bytes: int = MAX_BYTES) -> Any:
    """An `httpx2.Client` for a vendor's library."""
    return _httpx().Client(transport=GuardedTransport(http, deadline_s, max_bytes), trust_env=False)


def _httpx() -> Any:
    """Imported when first used: it takes a fifth of a second."""
    return import_module("httpx2")


def _without(headers: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in names}
