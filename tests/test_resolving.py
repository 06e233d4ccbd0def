"""Look-ups of a patched process, in a process of its own: names that hang hold up no other."""

import subprocess
import sys

import pytest

from app.config import CHECKOUT

_MANY_HANG = """
from gevent import monkey; monkey.patch_all()
import _socket, socket, threading, time, gevent
from app import resolving

slow, native = monkey.get_original("time", "sleep"), _socket.getaddrinfo
_socket.getaddrinfo = lambda host, *more: slow(5) or [] if host == "hangs" else native(host, *more)
resolving.install(50)
for _ in range(60):
    gevent.spawn(socket.getaddrinfo, "hangs", 80)
gevent.sleep(0.1)
began = time.monotonic()
socket.getaddrinfo("localhost", 80)
gevent.get_hub().threadpool.apply(int)
print(time.monotonic() - began < 2, flush=True)
import os; os._exit(0)
"""
_WHICH = """
import sys
if sys.argv[1] == "patched":
    from gevent import monkey; monkey.patch_all()
import gevent
from app import resolving
resolving.install(1)
print(type(gevent.get_hub().resolver).__module__)
"""


def _run(code: str, *words: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return done.stdout.strip()


def test_sixty_names_that_hang_hold_up_no_other():
    assert _run(_MANY_HANG) == "True"


@pytest.mark.parametrize(
    ("words", "environ", "resolver"),
    [
        ("patched", {}, "app.resolving"),
        ("patched", {"GEVENT_RESOLVER": "ares"}, "gevent.resolver.ares"),
        ("plain", {}, "gevent.resolver.thread"),
    ],
)
def test_only_a_patched_process_without_a_resolver_of_its_choice_gets_ours(words, environ, resolver):
    assert _run(_WHICH, words, **environ) == resolver
