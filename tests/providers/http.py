"""A plain HTTP server that keeps what it was sent and answers as it is told.

All stand-ins of HTTP services are made of it, and so each can be slow, reset the connection, or be busy in its
service's own words: `stand_in_at(discord.url).next.append(provider.busy(7))`.
"""

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Received:
    """Header names are lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Says:
    """An answer; `hang_up` closes the connection instead, once the request was read, and `reset` cuts it."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up: bool = False
    reset: bool = False


def says_json(value: Any, status: int = 200, **headers: str) -> Says:
    return Says(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


@dataclass
class StandIn:
    """`answer` may be replaced at any time."""

    answer: Callable[[Received], Says]
    url: str = ""
    received: list[Received] = field(default_factory=list)
    # Said to the next requests, whatever they ask.
    next: list[Says] = field(default_factory=list)
    # Every answer comes so late.
    pause_s: float = 0.0


_running: dict[int | None, StandIn] = {}


def stand_in_at(url: str) -> StandIn:
    """What answers there, beneath whatever a provider's own object adds."""
    return _running[urlsplit(url).port]


def only_with_token(token: str) -> Callable[[Received], Says]:
    """Refuses whoever does not send `Authorization: Bearer <token>`."""

    def answer(request: Received) -> Says:
        if request.headers.get("authorization") != f"Bearer {token}":
            return says_json({"error": "unauthorized", "got": request.headers.get("authorization")}, 401)
        return says_json({"me": "ada"})

    return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Twenty callers at once are not refused.
    request_queue_size = 128


@contextmanager
def http_server(answer: Callable[[Received], Says] = lambda request: Says()) -> Iterator[StandIn]:
    stand_in = StandIn(answer)
    server = _Server(("127.0.0.1", 0), _handler(stand_in))
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    _running[server.server_port] = stand_in
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        del _running[server.server_port]
        server.shutdown()
        server.server_close()
        thread.join(2)


def _reset(connection: socket.socket) -> None:
    """Closing without lingering sends RST; detached, so that nobody says goodbye first."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            request = self._read()
            stand_in.received.append(request)
            time.sleep(stand_in.pause_s)
            says = stand_in.next.pop(0) if stand_in.next else stand_in.answer(request)
            self.close_connection = True
            if says.reset:
                _reset(self.connection)
            if says.reset or says.hang_up:
                return
            # Whoever did not want to wait is gone.
            with suppress(ConnectionError):
                self._send(says)

        def _send(self, says: Says) -> None:
            self.send_response(says.status)
            for name, value in says.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(says.body)))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(says.body)

        def _read(self) -> Received:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            return Received(self.command, parts.path, parse_qs(parts.query), headers, body)

        def log_message(self, *args: object) -> None:
            pass

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _respond  # noqa: N815

    return Handler
