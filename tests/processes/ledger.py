"""An HTTP service that writes down every request before it answers, and can be slow."""

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Ledger:
    """`entries` are (idempotency key, body) in the order of arrival."""

    def __init__(self, *, slow_s: float = 0.0) -> None:
        self.entries: list[tuple[str | None, Any]] = []
        entries = self.entries

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                entries.append((self.headers.get("Idempotency-Key"), json.loads(body)))
                time.sleep(slow_s)
                # The caller may have been killed meanwhile.
                with suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")

            def log_message(self, *_args: Any) -> None:
                """Quiet."""

        class Quiet(ThreadingHTTPServer):
            request_queue_size = 256

            def handle_error(self, *_args: Any) -> None:
                """A caller that was killed resets its connection."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/done"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
