"""A plain HTTP server that keeps what it was sent and answers as it is told."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
    """An answer; `hang_up` closes the connection instead, once the request was read."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up: bool = False


def says_json(value: Any, status: int = 200, **headers: str) -> Says:
    return Says(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


@dataclass
class StandIn:
    """`answer` may be replaced at any time."""

    answer: Callable[[Received], Says]
    url: str = ""
    received: list[Received] = field(default_factory=list)


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
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join(2)


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            request = self._read()
            stand_in.received.append(request)
            says = stand_in.answer(request)
            self.close_connection = True
            if says.hang_up:
                return
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
