"""A hundred thousand tasks that wait, and then start."""

import json
import statistics
import subprocess
import sys
import time

import httpx2

from app.api.hooks import BODY_BYTES
from tests.browser.seed import Visitor
from tests.faults.generator import Lane
from tests.faults.registry import scenario
from tests.faults.scales import Scales
from tests.faults.server import Stage
from tests.live import PASSWORD, ROOT, wait_until

_MB = 1 << 20
_LISTS = [
    f"/api/v1/{name}"
    for name in ("tasks", "runs", "events", "queues", "failures", "rules", "storage", "alerts", "connections")
]
_PAGES = (
    "/",
    "/activity",
    "/queues",
    "/settings/storage",
    "/settings/usage",
    "/failures",
    "/rules",
    "/operator/",
)
_SLOWEST_S = 1.0
# Twenty bodies of five megabytes may be read at once.
_MORE_MB = 200
_CLIMB_MB = 40


@scenario("F25", "100,000 tasks wait, some with payloads at the limit, then start", "2", events=2000)
def many_wait_then_start(stage: Stage) -> None:
    safe = stage.lane("safe", repeatable=True)
    large = _filled_up(stage, stage.lane("large", repeatable=True))
    # In quick mode a few thousand.
    more, larger = (98_000, 20) if stage.events > 200 else (3_000, 4)
    with stage.server.api(stage.key) as api, Visitor(stage.server.url) as person:
        person.post("/login", "/login", email="ada@example.com", password=PASSWORD)
        api.post("/api/v1/queues/default/pause").raise_for_status()
        stage.send(rate=200, lanes=[safe]).join()
        stage.send(rate=4, count=larger, lanes=[large]).join()
        _fill(stage, more)
        _expect_quick(stage, api, person, "while all waited")
        _expect_flat(stage, api, person)
        _expect_quick(stage, api, person, "when all had ended")
    stage.quiet(10)


def _expect_flat(stage: Stage, api: httpx2.Client, person: Visitor) -> None:
    """All start; the memory that they take comes and goes, and does not climb."""
    with Scales(stage, every_s=0.2) as waiting:
        time.sleep(2)
    with Scales(stage, every_s=0.2) as running:
        began = time.monotonic()
        api.post("/api/v1/queues/default/resume").raise_for_status()
        time.sleep(2)
        _expect_quick(stage, api, person, "while they ran")
        _until_ended(stage, 480)
    stage.notes.append(f"{time.monotonic() - began:.0f} s until all had ended")
    for name in ("web", "worker"):
        base, more, climb = (
            value // _MB
            for value in (waiting.most(name), running.most(name) - waiting.most(name), running.climb(name))
        )
        stage.notes.append(f"{name} {base} MB, then at most {more} MB more, climbing by {climb} MB")
        stage.expect(more < _MORE_MB, f"{name} took {more} MB more while all started")
        stage.expect(climb < _CLIMB_MB, f"{name} climbed by {climb} MB while all ran")


def _filled_up(stage: Stage, lane: Lane) -> Lane:
    """The lane with bodies as large as a hook takes."""
    room = BODY_BYTES - len(json.dumps({"order": "large-0000", "pad": ""}))
    stage.lanes.remove(lane)
    return Lane(lane.name, lane.url, lane.headers, lane.repeatable, {**lane.body, "pad": "x" * room})


def _fill(stage: Stage, count: int) -> None:
    rule_id = stage.rows("SELECT id FROM rules WHERE name = 'safe'")[0][0]
    env = {**stage.server.env, "LOG_LEVEL": "error"}
    words = [sys.executable, "-m", "tests.faults.filler", rule_id, str(count)]
    done = subprocess.run(words, cwd=ROOT, env=env, check=False, capture_output=True, text=True)
    waiting = stage.rows("SELECT count(*) FROM tasks WHERE state = 'queued'")[0][0]
    stage.expect(waiting > count, f"only {waiting} tasks wait: {done.stderr[-500:]}")


def _until_ended(stage: Stage, seconds: float) -> None:
    """Looks seldom: to count a hundred thousand tasks is work, too."""

    def has_ended() -> bool:
        time.sleep(1)
        return not any(map(stage.states().get, ("queued", "running", "waiting")))

    wait_until(has_ended, seconds=seconds, what="all have ended")


def _expect_quick(stage: Stage, api: httpx2.Client, person: Visitor, when: str) -> None:
    run_id, event_id, rule_id = stage.rows(
        "SELECT r.id, r.event_id, r.rule_id FROM runs r JOIN rules u ON u.id = r.rule_id "
        "WHERE u.name = 'large' ORDER BY r.id LIMIT 1"
    )[0]
    pages = (*_PAGES, f"/rules/{rule_id}", f"/runs/{run_id}", f"/events/{event_id}")
    took = {path: _median_s(api, path) for path in _LISTS} | {
        path: _median_s(person.http, path) for path in pages
    }
    slowest = max(took, key=lambda path: took[path])
    stage.notes.append(f"slowest of {len(took)} pages {when}: {slowest} {took[slowest] * 1000:.0f} ms")
    slow = [f"{path} took {seconds:.1f} s" for path, seconds in took.items() if seconds > _SLOWEST_S]
    stage.expect(not slow, f"{when} {', '.join(slow)}")


def _median_s(caller: httpx2.Client, path: str) -> float:
    return statistics.median(_seconds(caller, path) for _ in range(3))


def _seconds(caller: httpx2.Client, path: str) -> float:
    began = time.monotonic()
    answer = caller.get(path)
    assert answer.status_code == 200, f"{path} answered {answer.status_code}"
    assert answer.url.path == path, f"{path} led to {answer.url.path}"
    return time.monotonic() - began
