import io
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from deploy import supervise
from deploy.children import Child, Command, Supervisor
from deploy.schema import is_current

CHECKOUT = Path(__file__).resolve().parents[1]

# A child that writes its process number to a file, says one line, and stays.
STAYING = """
import os, pathlib, time
with open({file!r}, "a") as file:
    file.write(str(os.getpid()) + "\\n")
print("here I am", flush=True)
time.sleep(60)
"""
ENDING = """
with open({file!r}, "a") as file:
    file.write("once\\n")
"""
# A child that ends at SIGTERM and notes when.
NOTING = """
import signal, sys, time
def end(*_):
    with open({file!r}, "a") as file:
        file.write("{name}\\n")
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open({file!r}, "a") as file:
    file.write(str(os.getpid()) + "\\n")
time.sleep(60)
"""


@pytest.fixture
def supervised():
    """Start a real supervisor, in a process of its own, over commands given as (name, program, foundation)."""
    started = []

    def start(*programs, grace_s=5.0):
        commands = ", ".join(
            f"Command({name!r}, [sys.executable, '-c', {program!r}], foundation={foundation})"
            for name, program, foundation in programs
        )
        script = textwrap.dedent(f"""
            import sys
            from deploy.children import Command, Supervisor
            Supervisor([{commands}], grace_s={grace_s}).run()
            print("stopped", flush=True)
        """)
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=8.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def lines(path):
    return path.read_text().split() if path.exists() else []


def gone(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_child_starts_again(supervised, tmp_path):
    pids = tmp_path / "pids"
    supervised(("web", STAYING.format(file=str(pids)), False))
    (first,) = wait_for(lambda: lines(pids))

    os.kill(int(first), signal.SIGKILL)

    assert len(wait_for(lambda: len(lines(pids)) == 2 and lines(pids))) == 2


def test_a_child_that_ends_well_starts_again_but_never_in_a_hot_loop(supervised, tmp_path):
    starts = tmp_path / "starts"
    supervised(("worker", ENDING.format(file=str(starts)), False))
    wait_for(lambda: len(lines(starts)) >= 2)

    time.sleep(1.2)

    assert 2 <= len(lines(starts)) <= 4


def test_what_a_child_says_carries_its_name(supervised, tmp_path):
    process = supervised(("web", STAYING.format(file=str(tmp_path / "pids")), False))

    assert process.stdout.readline() == "web | here I am\n"


def test_the_foundation_stops_last(supervised, tmp_path):
    order = tmp_path / "order"
    process = supervised(
        ("redis", NOTING.format(file=str(order), name="redis"), True),
        ("web", NOTING.format(file=str(order), name="web"), False),
    )
    assert {process.stdout.readline(), process.stdout.readline()} == {"redis | ready\n", "web   | ready\n"}

    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=5) == 0
    assert lines(order) == ["web", "redis"]


def test_a_child_that_will_not_stop_is_killed_after_its_grace(supervised, tmp_path):
    pids = tmp_path / "pids"
    process = supervised(("worker", STUBBORN.format(file=str(pids)), False), grace_s=0.3)
    (number,) = wait_for(lambda: lines(pids))

    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=5) == 0
    assert gone(number)


def test_a_second_ctrl_c_does_not_wait_for_the_grace(supervised, tmp_path):
    pids = tmp_path / "pids"
    process = supervised(("worker", STUBBORN.format(file=str(pids)), False), grace_s=60)
    wait_for(lambda: lines(pids))

    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=5) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ties a child to its parent")
def test_a_killed_supervisor_takes_its_children_along(supervised, tmp_path):
    pids = tmp_path / "pids"
    process = supervised(("web", STAYING.format(file=str(pids)), False))
    (number,) = wait_for(lambda: lines(pids))

    process.kill()

    assert wait_for(lambda: gone(number))


def test_a_later_command_starts_once_the_others_are_ready():
    children = [Command("web", ["true"]), Command("worker", ["true"], later=True)]
    supervisor = Supervisor(children, out=io.StringIO())
    web, worker = supervisor._children
    worker.due_at_s = time.monotonic() + 60
    assert supervisor._held() == [worker]

    supervisor.start_later_ones()

    assert worker.due_at_s == web.due_at_s == 0.0


def test_the_wait_doubles_up_to_ten_seconds():
    child = Child(Command("web", [sys.executable, "-c", ""]))
    waits = []

    for _ in range(8):
        child.start().close()
        waits.append(child.retire()[1])

    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_second_start_on_the_same_home_is_refused(tmp_path, capsys):
    held = supervise.lock(tmp_path)

    with held, pytest.raises(SystemExit):
        supervise.lock(tmp_path)

    assert f"already runs on {tmp_path} (process {os.getpid()})" in capsys.readouterr().err


def test_a_home_is_free_again_once_its_supervisor_ended(tmp_path):
    supervise.lock(tmp_path).close()

    supervise.lock(tmp_path).close()


def test_a_taken_port_is_named_with_the_way_out(capsys):
    with socket.create_server(("0.0.0.0", 0)) as taken, pytest.raises(SystemExit):
        supervise.listen(taken.getsockname()[1])

    assert "is taken by another program; stop it or set PORT" in capsys.readouterr().err


def test_wrong_settings_stop_the_start_before_anything_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "deploy.supervise"],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "BITQUEUE_HOME": str(tmp_path), "PORT": "x", "WORKERS": "x"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert [line.split()[3] for line in done.stderr.splitlines()] == ["PORT", "WORKERS"]


def test_postgresql_without_secrets_stops_the_start_and_says_how_to_make_them(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "deploy.supervise"],
        cwd=CHECKOUT,
        env={
            "PATH": os.environ["PATH"],
            "BITQUEUE_HOME": str(tmp_path),
            "DATABASE_URL": "postgres://u@127.0.0.1:1/q",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "SECRET_KEY is not set" in done.stderr
    assert "python3 -c" in done.stderr


@pytest.fixture
def versions(tmp_path):
    folder = tmp_path / "versions"
    folder.mkdir()
    (folder / "a.py").write_text('revision = "a"\ndown_revision = None\n')
    (folder / "b.py").write_text('revision: str = "b"\ndown_revision: str | None = "a"\n')
    return folder


def stamp(path, name):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (name,))
    connection.close()


@pytest.mark.parametrize(("stamped", "current"), [("b", True), ("a", False), ("unknown", False)])
def test_only_the_newest_migration_makes_a_database_current(versions, tmp_path, stamped, current):
    database = tmp_path / "bitqueue.db"
    stamp(database, stamped)

    assert is_current(database, versions) is current


def test_a_missing_or_damaged_database_is_not_current(versions, tmp_path):
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database" * 100)

    assert not is_current(damaged, versions)
    assert not is_current(tmp_path / "missing.db", versions)
    assert not (tmp_path / "missing.db").exists()
