"""Raw local servers that answer exactly the bytes, and at the pace, that a test tells them to."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[[socket.socket, bytes], bool | None]


@dataclass
class RawServer:
    """`script(connection, request)` answers each request; a true value keeps the connection open."""

    script: Script
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []
        self.threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            thread = threading.Thread(target=self.serve, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def serve(self, connection):
        with suppress(OSError), connection:
            kept = True
            while kept:
                request = read_request(connection)
                if not request:
                    return
                self.requests.append(request)
                kept = bool(self.script(connection, request))

    def stop(self):
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(2)


def read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            return b""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    while len(body) < declared_length(head):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def declared_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


@contextmanager
def serving(script: Script) -> Iterator[RawServer]:
    server = RawServer(script)
    thread = threading.Thread(target=server.accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(2)


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; `content_type="…"` becomes `content-type: …`."""
    lines = {"content-length": str(len(body))} | {
        key.replace("_", "-"): text for key, text in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def saying(*answers: bytes) -> Script:
    """Answers one after the other, the last one for ever, on kept connections."""
    left = list(answers)

    def script(connection, request):
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])
        return True

    return script


def reset(connection: socket.socket) -> None:
    """RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
