"""The clock process, the tick, slots of schedules, and the machine's own clock."""

import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from app.clock import rfc3339
from tests.faults import points
from tests.faults.points import Plan, Point
from tests.faults.registry import scenario
from tests.faults.server import Stage
from tests.faults.staging import Setting, repeatedly
from tests.live import ROOT, wait_until

_HOUR = 3600.0


def _schedule(stage: Stage, path: str, type_: str, **params: Any) -> None:
    """A rule that posts its slot to the provider at `path`; not to be repeated."""
    call = stage.call(path, repeatable=False) | {"json": {"order": "{{ event.scheduled_at }}"}}
    stage.rule(path, {"type": f"schedule.{type_}", "params": params}, call)
    stage.once.add(path)


def _each_second(stage: Stage, missed: str = "all") -> datetime:
    """From when on every second is a slot."""
    _schedule(stage, "slot", "every", every=1, unit="seconds", missed=missed)
    return datetime.now(UTC) + timedelta(seconds=2)


def _slots(first: datetime, last: datetime) -> frozenset[str]:
    first = first.replace(microsecond=0)
    count = int((last - first).total_seconds())
    return frozenset(rfc3339(first + timedelta(seconds=number)) for number in range(count))


def _turn_off(stage: Stage) -> None:
    with stage.server.api(stage.key) as api:
        for rule in stage.rows("SELECT rule_id FROM triggers WHERE kind = 'schedule'"):
            api.post(f"/api/v1/rules/{rule[0]}/disable").raise_for_status()


def _next_slot(stage: Stage) -> datetime:
    [(due_at,)] = stage.rows("SELECT next_due_at FROM triggers WHERE kind = 'schedule'")
    return datetime.fromtimestamp(due_at / 1e6, UTC)


def _end_of_slots(stage: Stage, first: datetime) -> None:
    """Slots up to now must have fired, once each; the rule is turned off so that quiet can come."""
    last = datetime.now(UTC)
    # Without a clock it takes a worker twenty seconds to miss the tick.
    with suppress(AssertionError):
        wait_until(lambda: _next_slot(stage) > last, seconds=40, what="the slots fire")
    _turn_off(stage)
    stage.slots = _slots(first, last)


@scenario("F4", "`kill -9` clock every 2 s", "5")
def the_clock_is_killed(stage: Stage) -> None:
    stage.usual_lanes()
    first = _each_second(stage)
    load = stage.send(rate=stage.events / 10)
    repeatedly(2.0, lambda: stage.kill("clock"), while_=lambda: load.is_running, most=5)
    load.join()
    _end_of_slots(stage, first)
    stage.quiet()


@scenario(
    "F4b",
    "`kill -9` clock between its removing and re-adding the tick",
    "5",
    setting=lambda seed: Setting(
        Plan(points=[Point("tick_removed", first=2 + seed % 3, times=2, process="deploy.clock")])
    ),
)
def the_clock_is_killed_without_its_tick(stage: Stage) -> None:
    stage.usual_lanes()
    first = _each_second(stage)
    load = stage.send(rate=stage.events / 25)
    load.join()
    _end_of_slots(stage, first)
    stage.quiet()
    stage.heed_points()
    fired = points.fired(stage.points_home)
    stage.expect(fired, "the fail-point tick_removed never fired")


@scenario(
    "F5", "two clocks, three workers and twenty more that tick at once", "5", setting=Setting(workers=3)
)
def many_tick_at_once(stage: Stage) -> None:
    first = _each_second(stage)
    env = {**stage.server.env, "BITQUEUE_FAULTS": ""}
    clock = subprocess.Popen(
        [sys.executable, "-m", "deploy.clock"], cwd=ROOT, env=env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _tick_beside(stage, 12, 20)
    finally:
        clock.terminate()
        with suppress(subprocess.TimeoutExpired):
            clock.wait(10)
        clock.kill()
        clock.wait()
    _end_of_slots(stage, first)
    stage.quiet()


def _tick_beside(stage: Stage, seconds: int, threads: int) -> None:
    env = {**stage.server.env, "LOG_LEVEL": "error"}
    words = [sys.executable, "-m", "tests.faults.ticker", str(seconds), str(threads)]
    done = subprocess.run(words, cwd=ROOT, env=env, check=False, capture_output=True, text=True)
    stage.expect(done.returncode == 0, f"the tickers ended with {done.stderr[-500:]}")


@scenario("F16", "the clock steps by +1 h, back, and by −10 s", "5", setting=Setting(Plan(clock=True)))
def the_wall_clock_is_set(stage: Stage) -> None:
    stage.usual_lanes()
    # Slow, so that a step finds leases.
    stage.provider.plan({path: [{"do": "ok", "s": 2.0}] for path in ("/safe", "/once", "/task")})
    _schedule(stage, "slot", "every", every=1, unit="seconds", missed="once")
    load = stage.send(rate=stage.events / 20)
    for shift_s in (_HOUR, 0.0, -10.0):
        time.sleep(5)
        stage.shift(shift_s)
    load.join()
    time.sleep(12)
    _turn_off(stage)
    stage.quiet()
    lost = stage.rows("SELECT count(*) FROM tasks WHERE lost > 0")[0][0]
    stage.expect(lost == 0, f"{lost} leases ran out because the clock was set")
    stage.expect(not load.failures, f"calls failed: {load.failures}")


# (zone, seconds before which the clock is set, the slot's instants at which it must have fired once)
_SPRING = {
    "Europe/Berlin": ("2027-03-28T01:00:00Z", "30 2 * * *"),
    "America/New_York": ("2027-03-14T07:00:00Z", "30 2 * * *"),
    "Australia/Lord_Howe": ("2027-10-02T15:30:00Z", "15 2 * * *"),
}
_AUTUMN = {
    "Europe/Berlin": ("2026-10-25T00:30:00Z", "30 2 * * *", 3600),
    "America/New_York": ("2026-11-01T05:30:00Z", "30 1 * * *", 3600),
    "Australia/Lord_Howe": ("2027-04-03T14:45:00Z", "45 1 * * *", 1800),
}


def _set_before(stage: Stage, instant: str, seconds: float) -> None:
    wanted = datetime.fromisoformat(instant) - timedelta(seconds=seconds)
    stage.shift((wanted - datetime.now(UTC)).total_seconds())


@scenario(
    "F16b",
    "daylight saving begins and ends, in three zones",
    "5",
    setting=Setting(Plan(clock=True)),
    events=0,
)
def daylight_saving_changes(stage: Stage) -> None:
    for zone, (instant, expression) in _SPRING.items():
        _set_before(stage, instant, 4)
        path = f"spring-{zone.replace('/', '-')}"
        _schedule(stage, path, "cron", expression=expression, zone=zone)
        time.sleep(9)
        _expect_slots(stage, path, [instant])
    for zone, (instant, expression, again_s) in _AUTUMN.items():
        _set_before(stage, instant, 4)
        path = f"autumn-{zone.replace('/', '-')}"
        _schedule(stage, path, "cron", expression=expression, zone=zone)
        time.sleep(9)
        # The same time on the wall, for the second time.
        _set_before(stage, instant, 3 - again_s)
        time.sleep(8)
        _expect_slots(stage, path, [instant])
    stage.quiet()


def _expect_slots(stage: Stage, path: str, instants: list[str]) -> None:
    fired = sorted(entry.order for entry in stage.provider.entries() if entry.path == f"/{path}")
    wanted = [instant.replace("Z", ".000Z") for instant in instants]
    stage.expect(fired == wanted, f"{path} fired at {fired}, not at {wanted}")
