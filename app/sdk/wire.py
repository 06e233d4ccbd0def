"""Connections to checked addresses: each read and write ends at a deadline, idle ones are soon reused."""

import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpcore2

from app.sdk.addresses import AddressGuard
from app.sdk.errors import TemporaryError

Origin: TypeAlias = tuple[str, str, int]

# Shorter than what common servers keep (node and apache 5 s): reusing a connection that the other side is
# about to close makes a sent request's fate unknown.
IDLE_S = 4.0
# A busy connection is replaced this often, so that a changed DNS entry is noticed.
MAX_AGE_S = 15.0
MAX_IDLE_PER_ORIGIN = 64
_SWEEP_EVERY_S = 1.0


def _left(until: float | None, error: type[Exception]) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise error("deadline passed")
    return left


class PlainStream(httpcore2.NetworkStream):
    """A socket. Its `timeout` arguments are instants of the monotonic clock, not seconds.

    httpcore passes the value through untouched; a duration per read would let a server that sends a byte
    a second hold us for ever.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._opened = time.monotonic()
        self.written = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._socket.settimeout(_left(timeout, httpcore2.ReadTimeout))
            return self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore2.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        try:
            while view:
                self._socket.settimeout(_left(timeout, httpcore2.WriteTimeout))
                view = view[self._socket.send(view) :]
                self.written = True
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        return self._is_spent() if info == "is_readable" else None

    def _is_spent(self) -> bool:
        """An idle connection is spent when too old, or when anything waits in it: that can only be the end.

        A peek, not a poll: gevent's poll makes a watcher per call. Named through the base class because
        a TLS socket's own `recv` refuses flags.
        """
        if time.monotonic() - self._opened > MAX_AGE_S:
            return True
        try:
            self._socket.settimeout(0)
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


class TlsStream(PlainStream):
    """TLS kept in memory over a PlainStream.

    `ssl.SSLSocket` under gevent gives each wait the full timeout, so a record sent byte by byte would
    outlive any deadline.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def shake_hands(self, until: float) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(until)
                self._fill(until)
            else:
                break
        self._flush(until)
        self.written = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while True:
            try:
                return self._tls.read(max_bytes)
            except ssl.SSLWantReadError:
                self._flush(timeout)
                self._fill(timeout)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                raise httpcore2.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        while view:
            try:
                view = view[self._tls.write(view) :]
            except ssl.SSLError as error:
                raise httpcore2.WriteError(str(error)) from error
        self._flush(timeout)

    def _flush(self, until: float | None) -> None:
        super().write(self._outgoing.read(), until)

    def _fill(self, until: float | None) -> None:
        data = super().read(65536, until)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


@dataclass(slots=True, eq=False)
class Line:
    """One connection to one origin."""

    origin: Origin
    stream: PlainStream
    http: httpcore2.HTTP11Connection
    reused: bool = False


@dataclass(slots=True)
class Lines:
    """The connections of one client. Not httpcore's pool: it polls every idle one at each request."""

    guard: AddressGuard
    tls: ssl.SSLContext | None = None
    _idle: dict[Origin, deque[Line]] = field(default_factory=dict)
    _swept: float = 0.0

    def take(self, origin: Origin, typed_host: str, until: float, *, fresh: bool = False) -> Line:
        """A connection to `origin`, reused where possible; raises only app.sdk.errors."""
        idle = self._idle.get(origin)
        while idle and not fresh:
            line = _pop(idle)
            if line is None:
                break
            if not line.http.has_expired():
                line.reused, line.stream.written = True, False
                return line
            line.http.close()
        return self._open(origin, typed_host, until)

    def give_back(self, line: Line) -> None:
        idle = self._idle.setdefault(line.origin, deque())
        if not line.http.is_idle() or len(idle) >= MAX_IDLE_PER_ORIGIN:
            line.http.close()
            return
        idle.append(line)
        self._sweep()

    def close(self) -> None:
        while self._idle:
            for line in self._idle.popitem()[1]:
                line.http.close()

    def _open(self, origin: Origin, typed_host: str, until: float) -> Line:
        scheme, host, port = origin
        connection = self.guard.connect(typed_host, port, until - time.monotonic())
        stream = (
            PlainStream(connection)
            if scheme == "http"
            else self._encrypt(connection, host, typed_host, until)
        )
        where = httpcore2.Origin(scheme.encode(), host.encode(), port)
        return Line(origin, stream, httpcore2.HTTP11Connection(where, stream, keepalive_expiry=IDLE_S))

    def _encrypt(self, connection: socket.socket, host: str, typed_host: str, until: float) -> TlsStream:
        if self.tls is None:
            self.tls = httpcore2.default_ssl_context()
        stream = TlsStream(connection, self.tls, host)
        try:
            stream.shake_hands(until)
        except (httpcore2.TimeoutException, httpcore2.NetworkError, ssl.SSLError) as error:
            stream.close()
            raise TemporaryError(_handshake_failure(typed_host, error), sent=False) from error
        except BaseException:
            stream.close()
            raise
        return stream

    def _sweep(self) -> None:
        now = time.monotonic()
        if now - self._swept < _SWEEP_EVERY_S:
            return
        self._swept = now
        for origin, idle in list(self._idle.items()):
            expired = [line for line in list(idle) if line.http.has_expired()]
            for line in expired:
                idle.remove(line)
                line.http.close()
            if not idle:
                self._idle.pop(origin, None)


def _pop(idle: deque[Line]) -> Line | None:
    try:
        return idle.pop()
    except IndexError:
        return None


def _handshake_failure(host: str, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {host} was not accepted: {error.verify_message}"
    if isinstance(error, httpcore2.TimeoutException):
        return f"{host} did not agree on encryption in time"
    return f"could not agree on encryption with {host}; does it speak https on this port"
