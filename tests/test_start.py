"""The whole of BitQueue, started as a user starts it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the children in /proc")

CHECKOUT = Path(__file__).resolve().parents[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def answer(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
        return response.status


def children_of(parent):
    """(process number, command line) of each child that is no zombie."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, number = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(number) == parent and state != "Z":
                yield int(entry.name), (entry / "cmdline").read_text()
        except OSError:  # it ended while we looked
            continue


def child(parent, word):
    return next((pid for pid, line in children_of(parent) if word in line), None)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """(process, port, home) of a running BitQueue with an empty home and no Redis."""
    home = tmp_path_factory.mktemp("home") / "var"
    port = free_port()
    # Left out: what the machine or the suite would set, but not what measures coverage.
    environ = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.supervise"],
        cwd=CHECKOUT,
        env={**environ, "BITQUEUE_HOME": str(home), "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("BitQueue is at"):
            break
    assert process.poll() is None, "".join(said)
    yield process, port, home
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert rest.endswith("BitQueue has stopped\n")


def test_an_empty_home_becomes_a_running_bitqueue(started):
    _, port, home = started

    assert answer(port, "/healthz") == 200
    assert {"bitqueue.db", "keys.env", "redis.sock"} <= {path.name for path in home.iterdir()}


@pytest.mark.parametrize("word", ["gunicorn", "valkey-server", "worker.py", "clock"])
def test_what_is_killed_comes_back(started, word):
    process, port, _ = started
    deadline = time.monotonic() + 10
    while (first := child(process.pid, word)) is None and time.monotonic() < deadline:
        time.sleep(0.05)

    os.kill(first, signal.SIGKILL)

    while (again := child(process.pid, word)) in {None, first} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert again not in {None, first}
    assert answer(port, "/healthz") == 200


def test_a_second_start_on_the_same_home_is_refused_by_name(started):
    _, _, home = started

    second = subprocess.run(
        [sys.executable, "-m", "deploy.supervise"],
        cwd=CHECKOUT,
        env={**os.environ, "BITQUEUE_HOME": str(home), "PORT": str(free_port())},
        capture_output=True,
        text=True,
        check=False,
    )

    assert second.returncode == 1
    assert f"it already runs on {home}" in second.stderr


def test_run_test_leaves_no_folder_of_tests_out():
    told = (CHECKOUT / "run").read_text()

    folders = {path.parent.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("tests/*/**/test_*.py")}

    assert {"/".join(folder.split("/")[:2]) for folder in folders} <= set(re.findall(r"tests/[a-z]+", told))
