"""A provider that is slow, silent, limits, breaks off or fails for a while."""

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.faults.generator import Lane
from tests.faults.points import Plan
from tests.faults.provider import OK, Entry
from tests.faults.recovery import percentile
from tests.faults.registry import scenario
from tests.faults.server import Stage
from tests.faults.staging import Setting
from tests.live import wait_until

_FAST = Plan(fast_retries=True)


def _by_order(stage: Stage, path: str) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in stage.provider.entries():
        if entry.path == f"/{path}":
            found[entry.order].append(entry)
    return found


def _slow(seconds: float) -> dict[str, Any]:
    return {"/slow": {"mix": [[9, [{"do": "ok", "s": seconds}]], [1, [OK]]]}}


@scenario("F17", "nine calls in ten take long", "2", events=400)
def the_provider_is_slow(stage: Stage) -> None:
    slow_s = 10.0 if stage.events <= 200 else 30.0
    slow, other = _slow_and_other(stage, slow_s)
    stage.send(rate=60, count=stage.events * 3 // 4, lanes=[slow])
    time.sleep(1.0)
    stage.send(rate=5, count=stage.events // 4, lanes=[other])
    stage.quiet(240)
    _expect_started(stage, within_s=slow_s + 2)


@scenario(
    "F17b",
    "nine calls in ten take long, and there are more of them than places",
    "2",
    setting=Setting(environ={"WORKER_CONCURRENCY": "20"}),
    events=400,
)
def the_slow_calls_are_many(stage: Stage) -> None:
    slow_s = 5.0
    slow, other = _slow_and_other(stage, slow_s)
    # Forty places: the last of the slow ones starts more than half a minute after it came.
    stage.send(rate=100, count=stage.events * 3 // 4, lanes=[slow]).join()
    stage.send(rate=2, count=stage.events // 8, lanes=[other])
    stage.quiet(240)
    _expect_started(stage, within_s=2 * slow_s)


def _slow_and_other(stage: Stage, slow_s: float) -> tuple[Lane, Lane]:
    stage.provider.plan(_slow(slow_s))
    return stage.lane("slow", repeatable=False, deadline_s=60), stage.lane("other", repeatable=False)


def _expect_started(stage: Stage, *, within_s: float) -> None:
    waits = stage.rows(
        "SELECT t.started_at - t.created_at FROM tasks t JOIN runs r ON r.id = t.run_id "
        "JOIN rules u ON u.id = r.rule_id WHERE u.name = 'other'"
    )
    longest = percentile([row[0] / 1e6 for row in waits], 99)
    stage.expect(longest < within_s, f"another rule's tasks waited {longest:.1f} s (p99) to start")
    stage.notes.append(f"other rules' start p99 {longest:.1f} s")


@scenario("F18", "the provider never answers", "2 4", setting=Setting(_FAST), events=200)
def the_provider_never_answers(stage: Stage) -> None:
    silent = [{"do": "silent"}, OK]
    stage.provider.plan({"/safe": silent, "/once": silent})
    stage.lane("safe", repeatable=True, deadline_s=3)
    stage.lane("once", repeatable=False, deadline_s=3)
    stage.lane("calm", repeatable=False)
    stage.send(rate=60)
    stage.quiet(60)
    taken = [
        (row[0] or 0) / 1e6
        for row in stage.rows("SELECT finished_at - started_at FROM attempts WHERE outcome <> 'succeeded'")
    ]
    stage.expect(taken, "no attempt ran into its deadline")
    stage.expect(
        max(taken, default=0) < 6, f"an attempt with a deadline of 3 s took {max(taken, default=0):.1f} s"
    )
    asked, sent = stage.uncertain_of("once"), len(_by_order(stage, "once"))
    stage.expect(asked == sent, f"of {sent} that may not be repeated only {asked} are uncertain")
    stage.notes.append(f"longest attempt {max(taken, default=0):.1f} s")


@scenario(
    "F18b",
    "the name server leaves names unanswered, then answers",
    "2 4",
    setting=Setting(_FAST, names=["known.test"]),
    events=400,
)
def names_hang(stage: Stage) -> None:
    url = stage.provider.url
    # A name of its own for each order, and one name for all.
    hanging = [
        stage.lane(name, repeatable=False, deadline_s=3, url=url(name, host))
        for name, host in (("each", "{{ event.order }}.test"), ("same", "same.test"))
    ]
    others = [
        stage.lane(name, repeatable=False, url=url(name, host))
        for name, host in (("named", "known.test"), ("address", "127.0.0.1"))
    ]
    began_s = time.time()
    stage.send(rate=60, count=stage.events * 3 // 4, lanes=hanging)
    time.sleep(1.0)
    load = stage.send(rate=stage.events / 40, count=stage.events // 4, lanes=others)
    load.join()
    wait_until(
        lambda: _open_of(stage, others) == 0 or time.time() > began_s + 60, seconds=60, what="others end"
    )
    _expect_bounded(stage)
    assert stage.names is not None
    stage.names.answer_all()
    stage.quiet(200)
    states = stage.states()
    stage.expect(set(states) == {"succeeded"}, f"not all succeeded once names were answered: {states}")


def _open_of(stage: Stage, lanes: Sequence[Lane]) -> int:
    return sum(
        stage.rows(
            "SELECT count(*) FROM runs JOIN rules ON rules.id = runs.rule_id "
            "WHERE rules.name = :name AND runs.finished_at IS NULL",
            name=lane.name,
        )[0][0]
        for lane in lanes
    )


def _expect_bounded(stage: Stage) -> None:
    """While names hang: attempts end at their deadline, other rules' soon, and nothing is in doubt."""
    took: dict[str, list[float]] = {}
    for name, created, started, finished in stage.rows(
        "SELECT u.name, t.created_at, a.started_at, a.finished_at FROM attempts a JOIN tasks t ON t.id = a.task_id "
        "JOIN runs r ON r.id = t.run_id JOIN rules u ON u.id = r.rule_id WHERE a.finished_at IS NOT NULL"
    ):
        kind = "hanging" if name in {"each", "same"} else name
        since = started if kind == "hanging" else created
        took.setdefault(kind, []).append((finished - since) / 1e6)
    for kind, most_s in (("hanging", 5.0), ("named", 2.0), ("address", 2.0)):
        longest = percentile(took.get(kind, []), 99)
        stage.notes.append(f"{kind}: {len(took.get(kind, []))} attempts, p99 {longest:.1f} s")
        stage.expect(took.get(kind), f"no attempt of {kind} ended while names hung")
        stage.expect(longest < most_s, f"{kind}: {longest:.1f} s (p99), more than {most_s:.0f} s")
    stage.expect(not stage.states().get("uncertain"), "what was never sent is uncertain")


# path → (what Retry-After says, seconds that must be waited at least, whether it is waited out here)
_LIMITS: dict[str, tuple[str, float, bool]] = {
    "seven": ("7", 7.0, True),
    "date": ("DATE", 5.0, True),
    "negative": ("-5", 0.0, True),
    "huge": ("999999999", 3600.0, False),
    "garbage": ("soon", 0.0, True),
}


@scenario(
    "F19",
    "429 with Retry-After: 7, a date, −5, 999999999, garbage",
    "2",
    setting=Setting(_FAST),
    events=200,
)
def the_provider_limits(stage: Stage) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=25), usegmt=True)
    stage.provider.plan(
        {
            f"/{path}": [
                {"do": "status", "status": 429, "headers": {"Retry-After": said.replace("DATE", date)}},
                OK,
            ]
            for path, (said, _, _) in _LIMITS.items()
        }
    )
    for path in _LIMITS:
        stage.lane(path, repeatable=False)
    stage.may_wait = True
    load = stage.send(rate=50)
    load.join()
    time.sleep(30)
    stage.quiet(15, waiting=True)
    for path, (said, least_s, over) in _LIMITS.items():
        _expect_limit_kept(stage, path, said, least_s, over=over)
    due = stage.rows("SELECT max(due_at) FROM tasks WHERE state = 'waiting'")[0][0] / 1e6
    stage.expect(due < time.time() + 25 * 3600, "a wait is not capped at a day")


def _expect_limit_kept(stage: Stage, path: str, said: str, least_s: float, *, over: bool) -> None:
    for order, entries in _by_order(stage, path).items():
        stage.expect(len(entries) == 1 + over, f"Retry-After {said}: {order} was sent {len(entries)} times")
        if len(entries) > 1 and said != "DATE":
            waited = entries[1].at_s - entries[0].at_s
            stage.expect(waited >= least_s - 0.05, f"Retry-After {said}: {order} waited only {waited:.1f} s")


@scenario(
    "F20", "minutes of 500s, then ok (pauses 20 times as short)", "2", setting=Setting(_FAST), events=400
)
def the_provider_fails_for_a_while(stage: Stage) -> None:
    broken = [{"do": "status", "status": 500}]
    stage.provider.plan({"/safe": broken, "/once": broken, "/task": broken})
    stage.usual_lanes()
    load = stage.send(rate=60)
    load.join()
    time.sleep(8.0 if stage.events <= 200 else 30.0)
    stage.provider.plan({})
    # After half a minute some have failed six times: the next pause may take four minutes.
    stage.quiet(260)
    states = stage.states()
    stage.expect(set(states) == {"succeeded"}, f"not all succeeded: {states}")
    gaps = [
        entries[1].at_s - entries[0].at_s
        for path in ("safe", "once", "task")
        for entries in _by_order(stage, path).values()
        if len(entries) > 1
    ]
    # Full jitter: evenly between nothing and the pause.
    spread = statistics.pstdev(gaps) if len(gaps) > 10 else 0.0
    stage.expect(spread > 0.15, f"retries come together: their pauses spread by {spread:.2f} s only")


@scenario(
    "F21",
    "answers reset before the headers, after the status line, in the body; cut gzip; refused connections",
    "4",
    setting=Setting(_FAST),
    events=200,
)
def the_provider_breaks_off(stage: Stage) -> None:
    ways = [
        [{"do": "reset", "after": "nothing"}, OK],
        [{"do": "reset", "after": "status"}, OK],
        [{"do": "reset", "after": "body"}, OK],
        [{"do": "cut_gzip"}, OK],
    ]
    mixed = {"mix": [[1, way] for way in ways]}
    stage.provider.plan({"/safe": mixed, "/once": mixed})
    stage.lane("safe", repeatable=True)
    stage.lane("once", repeatable=False)
    refused = stage.lane("refused", repeatable=False)
    stage.send(rate=60, count=stage.events // 2, lanes=stage.lanes[:2])
    stage.quiet(60)
    sent, asked = len(_by_order(stage, "once")), stage.uncertain_of("once")
    stage.expect(asked == sent, f"{sent} were broken off after sending, {asked} are uncertain")
    stage.expect(not stage.uncertain_of("safe"), "what may be repeated is uncertain")
    with stage.provider.away():
        stage.send(rate=60, count=stage.events // 4, lanes=[refused])
        time.sleep(2)
    stage.quiet(60)
    stage.expect(not stage.uncertain_of("refused"), "what was never sent is uncertain")


@scenario("F21b", "the provider accepts and dies", "4", setting=Setting(_FAST), events=20)
def the_provider_dies(stage: Stage) -> None:
    stage.provider.plan({path: {"mix": [[1, [{"do": "die"}, OK]], [3, [OK]]]} for path in ("/safe", "/once")})
    stage.lane("safe", repeatable=True)
    stage.lane("once", repeatable=False)
    stage.send(rate=4)
    stage.quiet(90)
