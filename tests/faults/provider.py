"""The stand-in provider: a process that writes every request to its ledger, on disk, before it answers as planned.

`python -m tests.faults.provider PORT LEDGER PLAN`. The plan (JSON) says by path what is done with the n-th request of
one key: {"/once": [{"do": "status", "status": 429, "headers": {"Retry-After": "7"}}, {"do": "ok"}]}; the last stands
for all that follow. {"do": "quota", "a_minute": 60} takes so many in any sixty seconds and refuses the rest.
{"mix": [[9, […]], [1, […]]]} gives nine keys in ten the first list.
"""

import asyncio
import gzip
import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.live import ROOT, free_port, wait_until

OK: Mapping[str, Any] = {"do": "ok"}
# The provider says by these that it did nothing; by any other failure it may have.
_NOT_TAKEN = frozenset({400, 401, 403, 404, 408, 409, 422, 425, 429, 500, 503})
_BODY = b'{"ok": true, "of": "the provider of the fault scenarios"}'


class _Ledger:
    """One line a request, appended and synced; counts requests a key."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._numbers: Counter[tuple[str, str]] = Counter()
        for entry in read(path):
            self._numbers[entry.path, entry.order] += 1

    def number(self, path: str, order: str) -> int:
        self._numbers[path, order] += 1
        return self._numbers[path, order]

    def write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fdatasync(self._file.fileno())


@dataclass(frozen=True, slots=True)
class Entry:
    """A request as it stands in the ledger.

    `accepted`: the provider did what was asked. `taken`: it may have, for all that the caller can know.
    """

    at_s: float
    path: str
    order: str
    key: str | None
    number: int
    do: str
    status: int
    accepted: bool
    taken: bool


def read(path: Path) -> list[Entry]:
    """Without a last line that was cut short by a kill: its request was not answered."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [Entry(**json.loads(line)) for line in lines if line.endswith(b"\n")]


class _Service:
    def __init__(self, ledger: _Ledger, plan: Path) -> None:
        self._ledger, self._plan = ledger, plan
        self.plan: dict[str, Any] = json.loads(plan.read_text())
        # When calls were taken, of each path that has a quota.
        self._taken: dict[str, deque[float]] = defaultdict(deque)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the caller was killed
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = head[0].split(" ")[1]
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if path == "/_plan":
            self._plan.write_bytes(body)
            self.plan = json.loads(body)
            return await _answer(writer, 200, {})
        return await self._serve(path, headers.get("idempotency-key"), json.loads(body or b"{}"), writer)

    async def _serve(self, path: str, key: str | None, body: Any, writer: asyncio.StreamWriter) -> bool:
        order = str(body.get("order"))
        number = self._ledger.number(path, order)
        do = self._planned(path, order, number)
        status = int(do.get("status", 200))
        refused = do["do"] == "status" and status >= 400
        self._ledger.write(
            {
                "at_s": time.time(), "path": path, "order": order, "key": key, "number": number, "do": do["do"],
                "status": status, "accepted": not refused, "taken": not (refused and status in _NOT_TAKEN),
            }
        )  # fmt: skip
        await asyncio.sleep(float(do.get("s", 0)))
        return await _DOING[do["do"]](writer, do)

    def _planned(self, path: str, order: str, number: int) -> Mapping[str, Any]:
        planned = self.plan.get(path, [OK])
        if isinstance(planned, dict):
            planned = _picked(planned["mix"], order)
        found: Mapping[str, Any] = planned[min(number, len(planned)) - 1]
        return self._of_quota(path, int(found["a_minute"])) if found["do"] == "quota" else found

    def _of_quota(self, path: str, most: int) -> Mapping[str, Any]:
        now, taken = time.monotonic(), self._taken[path]
        while taken and taken[0] <= now - 60:
            taken.popleft()
        if len(taken) >= most:
            after = math.ceil(taken[0] + 60 - now)
            return {"do": "status", "status": 429, "headers": {"Retry-After": str(after)}}
        taken.append(now)
        return OK


def _picked(mix: Sequence[tuple[int, Any]], order: str) -> Any:
    place = zlib.crc32(order.encode()) % sum(weight for weight, _ in mix)
    for weight, planned in mix:
        if place < weight:
            return planned
        place -= weight
    raise AssertionError(mix)


async def _answer(
    writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str], body: bytes = _BODY
) -> bool:
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + body)
    await writer.drain()
    return True


async def _ok(writer: asyncio.StreamWriter, do: Mapping[str, Any]) -> bool:
    return await _answer(writer, int(do.get("status", 200)), do.get("headers", {}))


async def _reset(writer: asyncio.StreamWriter, do: Mapping[str, Any]) -> bool:
    """After as much of the answer as `after` says: nothing, the status line, half the body."""
    whole = f"HTTP/1.1 200 Said\r\nContent-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY
    writer.write(whole[: {"nothing": 0, "status": 19, "body": len(whole) - 20}[do["after"]]])
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def _cut_gzip(writer: asyncio.StreamWriter, _do: Mapping[str, Any]) -> bool:
    return await _answer(writer, 200, {"Content-Encoding": "gzip"}, gzip.compress(_BODY * 20)[:-30])


async def _silent(_writer: asyncio.StreamWriter, _do: Mapping[str, Any]) -> bool:
    await asyncio.sleep(3600)
    return False


async def _die(_writer: asyncio.StreamWriter, _do: Mapping[str, Any]) -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return False


_DOING = {"ok": _ok, "status": _ok, "reset": _reset, "cut_gzip": _cut_gzip, "silent": _silent, "die": _die}


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


async def _main(port: int, ledger: Path, plan: Path) -> None:
    service = _Service(_Ledger(ledger), plan)
    server = await asyncio.start_server(service.talk, "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()


class Provider:
    """The handle: the process is started again where it died by plan."""

    def __init__(self, home: Path, plan: Mapping[str, Any]) -> None:
        self.port = free_port()
        self.ledger, self._plan = home / "ledger", home / "provider.json"
        self._plan.write_text(json.dumps(plan))
        self._stopping, self._wanted = threading.Event(), threading.Event()
        self._wanted.set()
        self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    def entries(self) -> list[Entry]:
        return read(self.ledger)

    def plan(self, plan: Mapping[str, Any]) -> None:
        """From now on."""
        httpx2.post(self.url("_plan"), json=plan, timeout=10).raise_for_status()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Connections are refused inside of the block."""
        self._wanted.clear()
        self._process.kill()
        self._process.wait()
        yield
        self._wanted.set()
        wait_until(self._listens, seconds=20, what="the provider listens again")

    def close(self) -> None:
        self._stopping.set()
        self._keeper.join(5)
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _start(self) -> None:
        words = [str(self.port), str(self.ledger), str(self._plan)]
        command = [sys.executable, "-m", "tests.faults.provider", *words]
        # Not tied to the parent as others are: the thread that keeps it may start it.
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
        wait_until(self._listens, seconds=20, what="the provider listens")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _keep(self) -> None:
        while not self._stopping.wait(0.2):
            if self._process.poll() is not None and self._wanted.wait(60):
                self._end()
                self._start()


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
