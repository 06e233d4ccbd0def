"""Greenlets that wait for PostgreSQL: on a socket alone, and for the server in a process that gevent has patched."""

import os
import socket
import subprocess
import sys

import gevent
import psycopg
import pytest

from app import waiting
from app.config import CHECKOUT

READ, WRITE = 1, 2

on_postgresql = pytest.mark.skipif(
    not os.environ.get("TEST_DATABASE_URL", "").startswith("postgres"), reason="PostgreSQL only"
)


@pytest.fixture
def ends():
    here, there = socket.socketpair()
    here.setblocking(False)
    yield here, there
    here.close()
    there.close()


def asking(wanted):
    """As psycopg's generators do: say what to wait for, be told what is ready."""
    ready = 0
    while not ready:
        ready = yield wanted
    return ready


def test_it_waits_until_something_can_be_read_while_others_go_on(ends):
    here, there = ends
    waiter = gevent.spawn(waiting.wait, asking(READ), here.fileno())
    gevent.sleep(0.05)
    assert not waiter.ready()

    there.send(b"!")

    assert waiter.get(timeout=5) == READ


def test_what_can_be_written_to_is_ready_at_once(ends):
    here, there = ends

    assert waiting.wait(asking(READ | WRITE), here.fileno()) == WRITE
    there.send(b"!")
    assert waiting.wait(asking(READ | WRITE), here.fileno()) == READ | WRITE


def test_it_asks_again_until_the_generator_has_had_enough(ends):
    here, there = ends

    def twice():
        yield WRITE
        ready = yield READ
        return ready, here.recv(10)

    gevent.spawn_later(0.02, there.send, b"!")

    assert waiting.wait(twice(), here.fileno()) == (READ, b"!")


def test_an_end_that_is_closed_is_something_to_read(ends):
    here, there = ends
    there.close()

    assert waiting.wait(asking(READ), here.fileno()) & READ


def test_a_connection_that_is_not_there_any_more_is_an_error():
    here, there = socket.socketpair()
    number = here.fileno()
    here.close()
    there.close()

    with pytest.raises(psycopg.OperationalError, match="closed"):
        waiting.wait(asking(READ), number)


def test_a_greenlet_that_is_killed_waits_no_more(ends):
    here, _ = ends
    waiter = gevent.spawn(waiting.wait, asking(READ), here.fileno())
    gevent.sleep(0.02)

    waiter.kill(timeout=5)

    assert waiter.ready()


def test_a_bounded_wait_ends(ends):
    here, _ = ends

    with pytest.raises(psycopg.errors._WaitTimeout):
        waiting.wait(asking(READ), here.fileno(), 0.01, timeout=0.05)


_PATCHED = """
from gevent import monkey; monkey.patch_all()
import gevent, os, time, psycopg
from app import waiting
waiting.install()
assert psycopg.waiting.wait is waiting.wait
url = os.environ["TEST_DATABASE_URL"].replace("+psycopg", "")
one, two = psycopg.connect(url, autocommit=True), psycopg.connect(url, autocommit=True)
"""


def patched(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _PATCHED + code], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@on_postgresql
def test_two_greenlets_wait_for_the_server_side_by_side():
    told = patched("""
began = time.monotonic()
gevent.joinall([gevent.spawn(each.execute, "SELECT pg_sleep(1)") for each in (one, two)], raise_error=True)
print(1 <= time.monotonic() - began < 1.9)
""")

    assert told == "True"


@on_postgresql
def test_megabytes_go_there_and_come_back():
    told = patched("""
text = "0123456789" * 1_000_000
print(one.execute("SELECT %s::text", [text]).fetchone()[0] == text)
with two.pipeline():
    cursors = [two.execute("SELECT %s::text", [text[:1_000_000]]) for _ in range(20)]
print(all(len(cursor.fetchone()[0]) == 1_000_000 for cursor in cursors))
""")

    assert told.split() == ["True", "True"]


@on_postgresql
def test_a_session_that_is_ended_while_it_waits_is_told():
    told = patched("""
waiter = gevent.spawn(one.execute, "SELECT pg_sleep(60)")
gevent.sleep(0.2)
two.execute("SELECT pg_terminate_backend(%s)", [one.info.backend_pid])
try:
    waiter.get(timeout=10)
except psycopg.OperationalError as error:
    print(type(error).__name__)
""")

    assert told == "AdminShutdown"
