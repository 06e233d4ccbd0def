"""Gunicorn's settings, where they are more than values."""

import signal
import subprocess
import sys

import pytest
from gunicorn.app.wsgiapp import WSGIApplication

from app.config import CHECKOUT

_NEW_WORKER = """
import os, signal, sys, time
number = getattr(signal, sys.argv[1])
signal.signal(number, lambda *_: print("noted by the master's handler"))
from deploy.gunicorn import post_fork
post_fork(None, None)
os.kill(os.getpid(), number)
time.sleep(5)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT"])
def test_a_worker_that_was_just_made_heeds_a_signal_to_stop(name):
    done = subprocess.run(
        [sys.executable, "-c", _NEW_WORKER, name], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (-getattr(signal, name), "")


def test_gunicorn_calls_it_in_each_new_worker(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gunicorn", "-c", str(CHECKOUT / "deploy/gunicorn.py"), "wsgi:app"])

    assert WSGIApplication().cfg.post_fork.__module__ == "__config__"
