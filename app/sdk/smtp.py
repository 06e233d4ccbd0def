"""SMTP to addresses that were checked: smtplib's client with one deadline, its failures in our vocabulary."""

import io
import smtplib
import socket
import ssl
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, NoReturn, TypeAlias, cast

import httpcore2

from app.sdk.addresses import SMTP_PORTS, AddressGuard, canonical_host
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.wire import PlainStream, TlsStream

Security: TypeAlias = Literal["starttls", "tls", "none"]

# RFC 4954 §6: authentication required, mechanism too weak, credentials invalid, encryption required.
_AUTH_CODES: Final = frozenset({530, 534, 535, 538})
_GOODBYE_S: Final = 2.0
_MAX_SENTENCE_CHARS: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A mail server and how to sign in to it; `greets_as` is the domain we give in EHLO."""

    host: str
    port: int
    security: Security
    username: str
    password: str
    accept_self_signed: bool
    greets_as: str

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port})"


@contextmanager
def session(guard: AddressGuard, server: Server, *, deadline_s: float) -> Iterator["Session"]:
    """Connected, encrypted and signed in. Raises only app.sdk.errors, also for what is done inside."""
    client = Session(guard, server, time.monotonic() + deadline_s)
    try:
        client.open()
        yield client
    except (smtplib.SMTPException, OSError, UnicodeError, ssl.SSLError) as error:
        client.raise_plainly(error)
    finally:
        client.leave()


class Session(smtplib.SMTP):
    """One conversation with a mail server."""

    def __init__(self, guard: AddressGuard, server: Server, until: float) -> None:
        super().__init__(local_hostname=server.greets_as)
        self._guard, self._server, self._until = guard, server, until
        self._host = canonical_host(server.host)
        # From here on, silence does not mean that nothing was delivered.
        self.handed_over = False

    def open(self) -> None:
        server = self._server
        code, greeting = self.connect(server.host, server.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, greeting)
        self.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            self.starttls(context=cast("ssl.SSLContext", _Upgrade(server, self._host)))
            self.ehlo_or_helo_if_needed()
        if server.username:
            self.login(server.username, server.password)

    def leave(self) -> None:
        """What was accepted stays accepted, however the goodbye goes."""
        with suppress(smtplib.SMTPException, OSError):
            if self.sock is not None:
                cast("_Channel", self.sock).until = min(self._until, time.monotonic() + _GOODBYE_S)
                self.quit()
        self.close()

    def data(self, msg: Any) -> tuple[int, bytes]:
        self.handed_over = True
        return super().data(msg)

    def sentence(self, said: bytes | str) -> str:
        """What the server said, on one line, cut, without our password."""
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        if self._server.password:
            text = text.replace(self._server.password, "••••")
        text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return text[:_MAX_SENTENCE_CHARS].rstrip(". ")

    def raise_plainly(self, error: Exception) -> NoReturn:
        host = self._server.host
        match error:
            case smtplib.SMTPRecipientsRefused():
                self._raise_for_recipients(error)
            case smtplib.SMTPResponseException():
                raise self._objection(error.smtp_code, self.sentence(error.smtp_error)) from error
            case smtplib.SMTPServerDisconnected() | TimeoutError():
                message = f"{host} broke off or did not answer in time; are port and encryption right"
                raise TemporaryError(message, sent=self.handed_over) from error
            case UnicodeError():
                raise AuthError(f"{host} takes only plain letters in user name and password") from error
            case smtplib.SMTPException():
                raise RejectedError(f"{host} cannot do this: {self.sentence(str(error)).lower()}") from error
        raise TemporaryError(f"the connection to {host} failed", sent=self.handed_over) from error

    def _raise_for_recipients(self, error: smtplib.SMTPRecipientsRefused) -> NoReturn:
        codes = [code for code, _ in error.recipients.values()]
        name, (_, said) = next(iter(error.recipients.items()))
        more = f" and {len(codes) - 1} more" if len(codes) > 1 else ""
        # The least code: while one of them may still get it, it is worth another try.
        raise self._objection(min(codes), f"{name}{more}: {self.sentence(said)}") from error

    def _objection(self, code: int, said: str) -> IntegrationError:
        host = self._server.host
        if code in _AUTH_CODES:
            return AuthError(f"{host} refused the log-in ({code} {said}); check user name and password")
        if 400 <= code < 500:
            return TemporaryError(f"{host} cannot take this now ({code} {said})", sent=False)
        if code < 0:
            return RejectedError(
                f"{host} does not speak smtp on port {self._server.port}; check host and port"
            )
        return RejectedError(f"{host} refused this mail ({code} {said})")

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        left = self._until - time.monotonic()
        connection = self._guard.connect(host, port, left, ports=_ports(self._guard, port))
        channel = _Channel(connection, self._until)
        if self._server.security == "tls":
            channel = _Upgrade(self._server, self._host).wrap_socket(channel)
        return cast("socket.socket", channel)


def _ports(guard: AddressGuard, port: int) -> Container[int]:
    """The ports of mail; an operator who allows private networks may run a server on any high port."""
    high = {port} if guard.allow_private and port >= 1024 else set()
    return SMTP_PORTS | {1025} | high


class _Channel:
    """A stream of app.sdk.wire in the shape that smtplib expects of a socket."""

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

    def close(self) -> None:
        self._stream.close()


class _Incoming(io.RawIOBase):
    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._channel.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True, slots=True)
class _Upgrade:
    """From plain to TLS; has the one method of SSLContext that `starttls` calls."""

    server: Server
    host: str

    def wrap_socket(self, channel: _Channel, server_hostname: str = "") -> _Channel:
        stream = TlsStream(channel.connection, _tls(self.server.accept_self_signed), self.host)
        try:
            stream.shake_hands(channel.until)
        except (httpcore2.TimeoutException, httpcore2.NetworkError, ssl.SSLError) as error:
            stream.close()
            raise TemporaryError(_handshake_failure(self.server, error), sent=False) from error
        return _Channel(channel.connection, channel.until, stream)


def _handshake_failure(server: Server, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        return f"the certificate of {server.host} was not accepted: {why}; if the server is yours, allow that below"
    return f"could not agree on encryption with {server.host}; check port {server.port} and encryption"


@lru_cache(maxsize=2)
def _tls(accept_self_signed: bool) -> ssl.SSLContext:  # noqa: FBT001  a cache's key
    context = ssl.create_default_context()
    if accept_self_signed:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _as_os_error() -> Iterator[None]:
    """smtplib knows a lost connection as OSError."""
    try:
        yield
    except (httpcore2.TimeoutException, httpcore2.NetworkError) as error:
        raise OSError(str(error)) from error
