"""Processes that die, hang or are replaced: web and workers."""

import os
import signal
import time
from contextlib import suppress

from tests.faults import points
from tests.faults.points import Plan, Point
from tests.faults.registry import scenario
from tests.faults.server import Stage
from tests.faults.staging import Setting, repeatedly

# Slow enough that a kill finds requests under way.
_PROVIDER = {path: [{"do": "ok", "s": 0.1}] for path in ("/safe", "/once", "/task")}


def _points(*wanted: Point) -> Setting:
    return Setting(Plan(points=wanted), _PROVIDER)


def _expect_fired(stage: Stage, *names: str) -> None:
    """A point that never fired proves nothing."""
    fired = {each.name for each in points.fired(stage.points_home)}
    for name in set(names) - fired:
        stage.expect(False, f"the fail-point {name} never fired")


@scenario("F1", "`kill -9` web every 2 s under load", "1 6", setting=Setting(provider=_PROVIDER))
def web_is_killed(stage: Stage) -> None:
    stage.usual_lanes()
    load = stage.send(rate=stage.pace(50))
    repeatedly(2.0, stage.kill_web, while_=lambda: load.is_running)
    stage.quiet()
    stage.expect(not load.given_up, f"{len(load.given_up)} events could not be sent within two minutes")


@scenario(
    "F1b",
    "`kill -9` web between commit and ring, between ring and answer, in a group commit",
    "1 3 6",
    setting=lambda seed: _points(
        Point("after_commit", first=10 + seed % 7, times=2, process="gunicorn"),
        Point("after_ring", first=15 + seed % 5, times=2, process="gunicorn"),
        Point("in_commit", first=20 + seed % 9, times=2, process="gunicorn"),
    ),
)
def web_is_killed_at_points(stage: Stage) -> None:
    stage.usual_lanes()
    load = stage.send(rate=stage.pace(50))
    stage.quiet()
    stage.heed_points()
    _expect_fired(stage, "after_commit", "after_ring", "in_commit")
    again = sum(sent.tries > 1 for sent in load.sent)
    stage.expect(again, "no event had to be sent again")


@scenario(
    "F2", "`kill -9` a random worker every 3 s", "2 3 4", setting=Setting(provider=_PROVIDER), quick=True
)
def a_worker_is_killed(stage: Stage) -> None:
    stage.usual_lanes()
    load = stage.send(rate=stage.pace(30))
    repeatedly(
        3.0, lambda: stage.kill("worker", which=stage.rng.randrange(2)), while_=lambda: load.is_running
    )
    stage.quiet()


@scenario(
    "F2b",
    "`kill -9` workers after a claim, in a group commit, after *started* is recorded",
    "2 3 4",
    setting=lambda seed: _points(
        Point("after_claim", first=2 + seed % 3, times=2, process="worker.py"),
        Point("in_commit", first=12 + seed % 9, times=2, process="worker.py"),
        Point("after_started", first=2 + seed % 3, times=2, process="worker.py"),
    ),
)
def workers_are_killed_at_points(stage: Stage) -> None:
    stage.usual_lanes()
    stage.send(rate=stage.pace(40))
    stage.quiet(90)
    stage.heed_points()
    _expect_fired(stage, "after_claim", "in_commit", "after_started")


@scenario(
    "F3",
    "`kill -9` a worker right after the provider's ok",
    "4",
    setting=lambda seed: _points(
        Point("after_ok", first=8 + seed % 5, every=15, times=4, process="worker.py")
    ),
    quick=True,
)
def a_worker_is_killed_after_the_ok(stage: Stage) -> None:
    stage.usual_lanes()
    stage.send(rate=stage.pace(40))
    stage.quiet(90)
    stage.heed_points()
    _expect_fired(stage, "after_ok")
    twice = [entry for entry in stage.provider.entries() if entry.path == "/safe" and entry.number > 1]
    asked = stage.states().get("uncertain", 0)
    stage.expect(twice or asked, "no kill came between an ok and its record")
    stage.notes.append(f"{len(twice)} repeated with the same key, {asked} uncertain")


@scenario(
    "F10",
    "a worker stopped past its lease, then continued",
    "2 4",
    setting=Setting(provider={path: [{"do": "ok", "s": 0.5}] for path in ("/safe", "/once", "/task")}),
)
def a_worker_is_stopped_past_its_lease(stage: Stage) -> None:
    stage.usual_lanes()
    stage.send(rate=stage.pace(60))
    stage.until_sent(0.4)
    [stopped, *_] = stage.pids("worker")
    stage.kill("worker", which=0, number=signal.SIGSTOP)
    time.sleep(13.0 + stage.rng.random())
    with suppress(ProcessLookupError):
        os.kill(stopped, signal.SIGCONT)
    stage.quiet()
    lost = stage.rows("SELECT count(*) FROM tasks WHERE lost > 0")[0][0]
    stage.expect(lost, "the stopped worker held no task")
    stage.restarts_meant += 1
    stage.notes.append(f"{lost} leases ran out")


@scenario(
    "F10b",
    "a worker stopped after the provider's ok and before it is recorded, continued past its lease",
    "2 4",
    setting=lambda seed: _points(
        Point("after_ok", do="stop", first=9 + seed % 5, times=1, process="worker.py")
    ),
)
def a_worker_wakes_up_with_an_old_fence(stage: Stage) -> None:
    stage.usual_lanes()
    stage.send(rate=stage.pace(60))
    stage.until_sent(1.0)
    time.sleep(13.0)
    for each in points.fired(stage.points_home):
        with suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGCONT)
    stage.heed_points("stopped at")
    time.sleep(2)
    stage.quiet()
    _expect_fired(stage, "after_ok")
    stage.restarts_meant += 1


@scenario(
    "F11",
    "`SIGTERM` to web and worker under load (a deploy)",
    "1 3",
    setting=Setting(provider=_PROVIDER),
    quick=True,
)
def web_and_workers_are_replaced(stage: Stage) -> None:
    stage.usual_lanes()
    load = stage.send(rate=stage.pace(40))

    def deploy() -> None:
        stage.kill("web", number=signal.SIGTERM)
        stage.kill("worker", which=stage.rng.randrange(2), number=signal.SIGTERM)

    repeatedly(1.7, deploy, while_=lambda: load.is_running, most=3)
    stage.quiet()
    stage.expect(not load.failures, f"calls failed during a deploy: {load.failures}")
    lost = stage.rows("SELECT count(*) FROM tasks WHERE lost > 0")[0][0]
    stage.expect(not lost, f"{lost} leases ran out that a stopping worker should have given back")


@scenario(
    "F12",
    "everything killed at once, at random times",
    "1 2 3 4 6",
    setting=Setting(provider=_PROVIDER),
)
def everything_is_killed(stage: Stage) -> None:
    stage.usual_lanes()
    times = 4 if stage.events <= 200 else 20
    load = stage.send(rate=stage.events / (times * 3))
    for _ in range(times):
        time.sleep(stage.rng.uniform(0.3, 3.0))
        stage.restart_all()
    stage.quiet(90)
    stage.expect(not load.given_up, f"{len(load.given_up)} events could not be sent within two minutes")
