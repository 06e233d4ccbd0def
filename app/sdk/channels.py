"""Guarded streams in the shape that smtplib and imaplib expect of sockets, plain at first or TLS."""

import io
import socket
import ssl
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import httpcore2

from app.sdk.addresses import AddressGuard, canonical_host
from app.sdk.errors import TemporaryError
from app.sdk.wire import PlainStream, TlsStream

Security: TypeAlias = Literal["starttls", "tls", "none"]

_UNPRIVILEGED: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A mail server and how to sign in to it; `greets_as` is the domain that SMTP gives in EHLO."""

    host: str
    port: int
    security: Security
    username: str
    password: str
    accept_self_signed: bool
    greets_as: str = ""

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port})"


def open_channel(
    guard: AddressGuard, upgrade: "Upgrade", *, ports: Container[int], until: float
) -> "Channel":
    """Connected to `upgrade`'s server, of one of `ports`, and plain; all of it ends at the instant `until`."""
    left = until - time.monotonic()
    return Channel(
        guard.connect(upgrade.host, upgrade.port, left, ports=_ports(guard, upgrade.port, ports)), until
    )


def _ports(guard: AddressGuard, port: int, usual: Container[int]) -> Container[int]:
    """An operator who allows private networks may run a server on any high port."""
    return {port} if guard.allow_private and port >= _UNPRIVILEGED else usual


class Channel:
    """A stream of app.sdk.wire as a socket."""

    def __init__(self, connection: socket.socket, until: float, stream: PlainStream | None = None) -> None:
        self.connection, self.until = connection, until
        self._stream = stream or PlainStream(connection)

    def sendall(self, data: bytes) -> None:
        with _as_os_error():
            self._stream.write(data, self.until)

    def receive(self, max_bytes: int) -> bytes:
        with _as_os_error():
            return self._stream.read(max_bytes, self.until)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self))

    def shutdown(self, how: int) -> None:
        """Closing says all."""

    def close(self) -> None:
        self._stream.close()


class _Incoming(io.RawIOBase):
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._channel.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """From plain to TLS; has the one method of SSLContext that `starttls` calls."""

    host: str
    port: int
    accept_self_signed: bool

    def wrap_socket(self, channel: Channel, server_hostname: str = "") -> Channel:
        name = canonical_host(self.host)
        stream = TlsStream(channel.connection, tls(self.accept_self_signed), name)
        try:
            stream.shake_hands(channel.until)
        except (httpcore2.TimeoutException, httpcore2.NetworkError, ssl.SSLError) as error:
            stream.close()
            raise TemporaryError(self._failure(error), sent=False) from error
        return Channel(channel.connection, channel.until, stream)

    def _failure(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            why = error.verify_message.rstrip(".")
            return f"the certificate of {self.host} was not accepted: {why}; if the server is yours, allow that below"
        return f"could not agree on encryption with {self.host}; check port {self.port} and encryption"


@lru_cache(maxsize=2)
def tls(accept_self_signed: bool) -> ssl.SSLContext:  # noqa: FBT001  a cache's key
    context = ssl.create_default_context()
    if accept_self_signed:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _as_os_error() -> Iterator[None]:
    """The standard library's clients know a lost connection as OSError."""
    try:
        yield
    except (httpcore2.TimeoutException, httpcore2.NetworkError) as error:
        raise OSError(str(error)) from error
