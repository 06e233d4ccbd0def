import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue as RQQueue
from rq.exceptions import NoSuchJobError
from rq_scheduler import Scheduler

from app.config import CHECKOUT
from app.engine import doorbell
from app.engine.doorbell import (
    BELL_LIFE_S,
    DRAIN_QUEUE,
    TICK_ENTRY,
    TICK_QUEUE,
    Doorbell,
    KnownJob,
    TickQueue,
)


@pytest.fixture
def redis(valkey) -> Redis:
    client = doorbell.connect(f"unix://{valkey.unix_socket_path}", timeout_s=0.5)
    client.flushall()
    return client


@pytest.fixture
def bell(redis) -> Doorbell:
    return Doorbell(redis)


def drains(redis) -> int:
    return redis.llen(f"rq:queue:{DRAIN_QUEUE}")


def until(is_so, within_s=5.0):
    give_up_at = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_ring_queues_one_drain_while_the_bell_rings(bell, redis):
    for _ in range(5):
        assert bell.ring_now()

    assert drains(redis) == 1
    assert 0 < redis.ttl("bitqueue:bell:default") <= BELL_LIFE_S


def test_a_cleared_bell_rings_again(bell, redis):
    bell.ring_now()
    bell.clear()
    bell.ring_now()

    assert drains(redis) == 2


def test_force_does_not_ask_whether_the_bell_rings(bell, redis):
    bell.ring_now()
    bell.ring_now(force=True)

    assert drains(redis) == 2


def test_a_ring_in_the_background_arrives(bell, redis):
    for _ in range(50):
        bell.ring()

    until(lambda: drains(redis) == 1)


def test_a_bell_that_redis_forgot_rings(bell, redis):
    bell.ring_now()
    redis.flushall()

    bell.ring_now()

    assert drains(redis) == 1


def test_without_redis_a_ring_returns_at_once_and_nothing_is_raised(tmp_path):
    away = Doorbell(doorbell.connect(f"unix://{tmp_path}/nobody.sock"))
    began = time.monotonic()

    away.ring()

    assert time.monotonic() - began < 0.1
    assert not away.ring_now()
    assert not away.is_reachable()
    assert not away.ensure_tick()
    away.clear()


def test_a_redis_that_hangs_keeps_nobody_waiting(bell, redis, valkey):
    os.kill(valkey._process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(20):
            bell.ring()
        rang_s = time.monotonic() - began
        answered = bell.ring_now()
    finally:
        os.kill(valkey._process.pid, signal.SIGCONT)

    assert rang_s < 0.1
    assert not answered
    until(bell.is_reachable)


def test_a_redis_that_takes_no_writes_keeps_nobody_from_work(bell, redis):
    redis.config_set("maxmemory", "1")
    try:
        assert not bell.ring_now()
        assert not bell.ensure_tick()
    finally:
        redis.config_set("maxmemory", "0")
    assert bell.ring_now()


# --- the tick's one entry


def test_the_tick_is_put_back_when_it_is_missing(bell, redis):
    assert bell.ensure_tick()
    assert not bell.ensure_tick()

    redis.flushall()

    assert bell.ensure_tick()
    assert redis.zcard(Scheduler.scheduled_jobs_key) == 1


def test_the_tick_is_put_back_when_its_job_is_missing(bell, redis):
    bell.ensure_tick()
    redis.delete(KnownJob.key_for(TICK_ENTRY))

    assert bell.ensure_tick()


@pytest.mark.parametrize("late_s", [6, 3600])
def test_the_tick_is_put_back_when_it_is_late(bell, redis, late_s):
    bell.ensure_tick()
    redis.zadd(Scheduler.scheduled_jobs_key, {TICK_ENTRY: time.time() - late_s})

    assert bell.ensure_tick()


def test_a_tick_far_ahead_is_put_back(bell, redis):
    """As a clock leaves it that was an hour fast."""
    bell.ensure_tick()
    redis.zadd(Scheduler.scheduled_jobs_key, {TICK_ENTRY: time.time() + 3600})

    assert bell.ensure_tick()
    assert redis.zscore(Scheduler.scheduled_jobs_key, TICK_ENTRY) < time.time() + 5


def test_an_hour_without_workers_leaves_one_tick(bell, redis):
    bell.ensure_tick()
    scheduler = doorbell.scheduler(redis)
    job = KnownJob.fetch(TICK_ENTRY, connection=redis)

    for _ in range(10):
        scheduler.enqueue_job(job)

    assert redis.llen(f"rq:queue:{TICK_QUEUE}") == 1


def test_only_bitqueues_own_functions_are_called(redis):
    job = TickQueue("any", connection=redis).enqueue("os.getcwd")

    with pytest.raises(doorbell.UnknownJobError):
        KnownJob.fetch(job.id, connection=redis).perform()


@pytest.mark.parametrize(
    "damage", [{"created_at": "yesterday"}, {"timeout": "soon"}, {"status": "odd"}, {"worker_name": b"\xff"}]
)
def test_a_job_with_a_damaged_hash_is_as_good_as_none(redis, damage):
    redis.hset(KnownJob.key_for("damaged"), mapping={"data": "{}", "created_at": "", **damage})

    with pytest.raises(NoSuchJobError):
        KnownJob.fetch("damaged", connection=redis)


def test_a_pickled_job_is_not_opened(redis):
    job = RQQueue("any", connection=redis).enqueue("os.getcwd")

    with pytest.raises(Exception, match=r".*"):
        KnownJob.fetch(job.id, connection=redis).perform()


@pytest.mark.slow
def test_the_clock_queues_the_tick_and_survives_an_emptied_redis(redis, valkey):
    url = f"unix://{valkey.unix_socket_path}"
    clock = subprocess.Popen(
        [sys.executable, "-c", f"from app.engine.doorbell import run_clock; run_clock({url!r})"],
        cwd=Path(CHECKOUT), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    key = f"rq:queue:{TICK_QUEUE}"
    try:
        until(lambda: redis.llen(key) == 1, within_s=30)
        redis.flushall()

        def missed_no_more() -> bool:
            # As workers do, again and again: the clock may take out what is put back in the same instant.
            Doorbell(redis).ensure_tick()
            return redis.llen(key) >= 1

        until(missed_no_more, within_s=30)
        clock.send_signal(signal.SIGTERM)
        assert clock.wait(5) is not None
    finally:
        clock.kill()
        clock.wait()
