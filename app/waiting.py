"""How a greenlet waits for PostgreSQL.

Under gevent psycopg waits by `select.poll`, which gevent makes anew of a timer and three objects for each wait. This is
the same wait with one look and one watcher.
"""

import select
from typing import Any, TypeVar

import psycopg
from gevent import get_hub, monkey
from psycopg import waiting
from psycopg.abc import PQGen

T = TypeVar("T")

# What to wait for, and what is ready: psycopg and gevent's loop say it by the same numbers.
_READ, _WRITE = 1, 2
_MASKS = {
    _READ: select.POLLIN,
    _WRITE: select.POLLOUT,
    _READ | _WRITE: select.POLLIN | select.POLLOUT,
}


def install() -> None:
    """In a process that gevent has patched; elsewhere psycopg waits in C."""
    if monkey.is_module_patched("select"):
        # What its connections call.
        waiting.wait = wait


def wait(gen: PQGen[T], fileno: int, interval: float = 0.0, timeout: float | None = None) -> T:
    """As `psycopg.waiting.wait`: what the generator returns when it has had what it waits for."""
    if timeout is not None:
        return waiting.wait_poll(gen, fileno, interval, timeout)
    try:
        wanted = next(gen)
        probe = monkey.get_original("select", "poll")()
        while True:
            probe.register(fileno, _MASKS[wanted])
            wanted = gen.send(_ready(probe, fileno, wanted))
    except StopIteration as end:
        given: T = end.value
        return given


def _ready(probe: Any, fileno: int, wanted: int) -> int:
    """What it can always be written to needs no turn of the hub."""
    found = probe.poll(0)
    if not found:
        _until_ready(fileno, wanted)
        found = probe.poll(0)
    events = found[0][1] if found else 0
    ready = (_READ if events & select.POLLIN else 0) | (_WRITE if events & select.POLLOUT else 0)
    if events and not ready:
        raise psycopg.OperationalError("the connection to PostgreSQL is closed")
    return ready


def _until_ready(fileno: int, wanted: int) -> None:
    hub = get_hub()
    watcher = hub.loop.io(fileno, wanted)
    try:
        hub.wait(watcher)
    finally:
        watcher.close()
