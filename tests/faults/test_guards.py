"""A scenario that cannot fail proves nothing: with a guard taken out, the checker must object."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
import sqlalchemy as sa

from tests.faults import checker, points
from tests.faults.databases import Databases, driven
from tests.faults.invariants import Found
from tests.faults.parts import is_alive
from tests.faults.points import Plan, Point
from tests.faults.registry import Scenario, play
from tests.faults.scenarios.clock import _each_second, _tick_beside, _turn_off
from tests.faults.server import Stage
from tests.faults.staging import Setting
from tests.live import ROOT

pytestmark = pytest.mark.slow
_FAILS = {path: [{"do": "status", "status": 500}] for path in ("/safe", "/once")}


def _broken(
    databases: Databases, setting: Setting, play_it: Callable[[Stage], None], *, events: int
) -> dict[str, Found]:
    scenario = Scenario("guard", play_it.__name__, "", "", play_it, lambda _seed: setting)
    played = play(scenario, databases, seed=1, events=events)
    assert played.facts is not None, played.report.sentences
    return checker.broken(played.facts)


def _send_and_wait(stage: Stage) -> None:
    stage.lane("safe", repeatable=True)
    stage.lane("once", repeatable=False)
    stage.send(rate=40)
    stage.quiet(60)
    stage.heed_points()


def test_without_announcing_what_may_not_be_repeated_is_seen_twice(databases: Databases) -> None:
    point = Point("after_ok", first=3, every=9, times=2, process="worker.py")
    slow = {"/once": [{"do": "ok", "s": 0.1}]}

    broken = _broken(databases, Setting(Plan([point], ["announce"]), slow), _send_and_wait, events=40)

    assert "I4" in broken


def test_success_that_the_provider_never_gave_is_seen(databases: Databases) -> None:
    broken = _broken(databases, Setting(Plan(removed=["honest"]), _FAILS), _send_and_wait, events=20)

    assert "I3" in broken


def _stop_one_past_its_lease(stage: Stage) -> None:
    stage.lane("safe", repeatable=True)
    stage.send(rate=40)
    stage.until_sent(1.0)
    time.sleep(14.0)
    for fired in points.fired(stage.points_home):
        with suppress(ProcessLookupError):
            os.kill(fired.pid, signal.SIGCONT)
    time.sleep(2)
    stage.quiet(60)


@pytest.mark.parametrize(("guard", "invariant", "again_s"), [("fence", "I7", 8.0), ("settled", "I5", 0.1)])
def test_a_worker_that_wakes_up_without_a_fence_is_seen(
    guard: str, invariant: str, again_s: float, databases: Databases
) -> None:
    """With the fence gone it writes over one that runs; with the look at the state gone, over what has ended."""
    point = Point("after_ok", do="stop", first=5, times=1, process="worker.py")
    twice = {"/safe": [{"do": "ok", "s": 0.3}, {"do": "ok", "s": again_s}]}

    broken = _broken(databases, Setting(Plan([point], [guard]), twice), _stop_one_past_its_lease, events=40)

    assert invariant in broken


def _tick_twenty_at_once(stage: Stage) -> None:
    database = sa.create_engine(driven(stage.server.env["DATABASE_URL"]), poolclass=sa.NullPool)
    with database.begin() as connection:
        connection.execute(sa.text("DROP INDEX uq_events_source_key"))
    _each_second(stage)
    _tick_beside(stage, 6, 20)
    _turn_off(stage)
    stage.quiet()


def test_a_slot_that_fires_twice_is_seen(databases: Databases) -> None:
    broken = _broken(databases, Setting(Plan(removed=["slot"])), _tick_twenty_at_once, events=0)

    assert "I11" in broken


def test_what_a_scenario_starts_ends_with_the_one_that_plays_it() -> None:
    code = (
        "import sys; sys.argv = ['x']; from pathlib import Path; import tempfile, os; "
        "from tests.faults.parts import Redis; "
        "home = Path(tempfile.mkdtemp(prefix='bq-')); store = Redis(home); print(store._process.pid, flush=True); "
        "os.kill(os.getpid(), 9)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    time.sleep(0.3)

    assert not is_alive(int(done.stdout))
