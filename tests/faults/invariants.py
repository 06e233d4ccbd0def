"""The invariants, each a function that gives a sentence for whatever breaks it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.faults.facts import TERMINAL, Known, Vitals
from tests.faults.recovery import percentile, recoveries

LONGEST_RECOVERY_S = 15.0
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken invariant: the sentence, and the orders or tasks that it lost or doubled."""

    sentence: str
    lost: frozenset[str] = frozenset()
    doubled: frozenset[str] = frozenset()


Found = list[Breach]


def _breach(words: str, those: Iterable[str], kind: str = "") -> Found:
    found = sorted(set(those))
    if not found:
        return []
    few = ", ".join(found[:_SHOWN]) + (" …" if len(found) > _SHOWN else "")
    lost = frozenset(found) if kind == "lost" else frozenset()
    doubled = frozenset(found) if kind == "doubled" else frozenset()
    return [Breach(f"{len(found)} {words}: {few}", lost, doubled)]


def i1_acknowledged_is_stored(known: Known) -> Found:
    missing = [sent.order for sent in known.facts.sent if not known.is_stored(sent)]
    return _breach("acknowledged and not in the database", missing, "lost")


def i2_every_task_ends(known: Known) -> Found:
    open_ = {"queued", "running"} if known.facts.may_wait else {"queued", "running", "waiting"}
    stuck = [f"{task.id} ({task.state})" for task in known.facts.tasks if task.state in open_]
    silent = [task.id for task in known.facts.tasks if task.state == "uncertain" and not task.cause]
    ended = {run.id: run.state for run in known.facts.runs}
    torn = [
        f"{task.run_id} ({ended[task.run_id]}, its task {task.state})"
        for task in known.facts.tasks
        if task.run_id and (task.state in TERMINAL) < (ended[task.run_id] in TERMINAL)
    ]
    return (
        _breach("tasks neither ended nor uncertain", stuck, "lost")
        + _breach("uncertain tasks without a question", silent)
        + _breach("runs ended before their task", torn)
        + _breach("runs open though their task ended", _left_open(known))
    )


def _left_open(known: Known) -> list[str]:
    """The runs here have one step, so that a run ends with its task."""
    return [
        f"{run.id} ({run.state})"
        for run in known.facts.runs
        if run.state not in TERMINAL
        and known.of_run[run.id]
        and all(task.state in TERMINAL for task in known.of_run[run.id])
    ]


def i3_succeeded_means_accepted(known: Known) -> Found:
    accepted = {entry.key for entry in known.facts.ledger if entry.accepted}
    hollow = [
        task.id
        for task in known.facts.tasks
        if task.state == "succeeded" and task.kind == "action" and _provider_key(task) not in accepted
    ]
    return _breach("succeeded though the provider accepted no request with that key", hollow, "lost")


def _provider_key(task: Any) -> str:
    return f"{task.run_id}-{task.path}" if task.run_id else task.id


def i4_nothing_is_sent_twice_unasked(known: Known) -> Found:
    taken = Counter(
        entry.order
        for entry in known.facts.ledger
        if entry.taken and entry.path.strip("/") in known.facts.once
    )
    twice = [order for order, count in taken.items() if count > 1 and order not in known.facts.again]
    keys: dict[str, set[str | None]] = defaultdict(set)
    for entry in known.facts.ledger:
        keys[entry.order].add(entry.key)
    changed = [
        order
        for order, used in keys.items()
        # A person's "do it again" is a task of its own; a check of an account has no order.
        if order not in {"None", *known.facts.again} and (len(used) > 1 or None in used)
    ]
    return _breach("that may not be repeated reached the provider twice", twice, "doubled") + _breach(
        "came with more than one Idempotency-Key, or none", changed, "doubled"
    )


def i5_nothing_ends_twice(known: Known) -> Found:
    reopened = [
        f"{move.task_id} ({move.old} to {move.new})" for move in known.facts.moves if move.old in TERMINAL
    ]
    events = [key for key, rows in known.events.items() if len(rows) > 1]
    runs = [
        event.key
        for event in known.facts.events
        if len([r for r in known.runs[event.id] if not r.replay_of]) > 1
    ]
    paths = [
        run_id
        for run_id, rows in known.of_run.items()
        if run_id and len(rows) > len({row.path for row in rows})
    ]
    return (
        _breach("tasks written after they had ended", reopened, "doubled")
        + _breach("keys with more than one event", events, "doubled")
        + _breach("events with more than one run", runs, "doubled")
        + _breach("runs with two tasks at one place", paths, "doubled")
    )


def i6_attempts_are_bounded(known: Known) -> Found:
    over = [task.id for task in known.facts.tasks if task.attempt > task.max_attempts]
    mute = [task.id for task in known.facts.tasks if task.state == "failed" and not task.cause]
    return _breach("tasks with more attempts than allowed", over) + _breach(
        "failed tasks without a cause", mute
    )


def i7_a_stale_fence_changes_nothing(known: Known) -> Found:
    """An action that succeeded has an attempt of the fence that its row then had, and no other that succeeded."""
    stale = []
    for task in known.facts.tasks:
        if task.kind != "action" or task.state != "succeeded" or task.id in known.facts.again:
            continue
        good = {attempt.fence for attempt in known.attempts[task.id] if attempt.outcome == "succeeded"}
        if good != {task.fence}:
            stale.append(f"{task.id} (fence {task.fence}, succeeded under {sorted(good)})")
    return _breach("tasks ended by a worker that no longer held them", stale, "doubled")


def i8_recovery_is_quick(known: Known) -> Found:
    taken = recoveries(known)
    if not taken or percentile(taken, 99) <= LONGEST_RECOVERY_S:
        return []
    return [
        Breach(f"recovery took {percentile(taken, 99):.1f} s (p99), more than {LONGEST_RECOVERY_S:.0f} s")
    ]


def i9_processes_are_calm(known: Known) -> Found:
    facts = known.facts
    killed = sum(len(hurt.pids) or 1 for hurt in facts.hurts)
    looping = (
        [Breach(f"{facts.restarts} restarts for {killed} kills: something dies by itself")]
        if facts.restarts > killed
        else []
    )
    base = {vitals.pid: vitals for vitals in facts.before}
    grown = [
        f"{now.name} ({base[now.pid].files} files, {base[now.pid].rss_bytes >> 20} MB; "
        f"then {now.files} files, {now.rss_bytes >> 20} MB)"
        for now in facts.after
        if now.pid in base and _has_grown(base[now.pid], now)
    ]
    return looping + _breach("processes that did not return to base", grown)


def _has_grown(base: Vitals, now: Vitals) -> bool:
    # Pools keep up to fifty connections; caches and arenas of a first load stay.
    return now.files > base.files + 80 or now.rss_bytes > base.rss_bytes + (120 << 20)


def i10_nothing_leaks(known: Known) -> Found:
    told = [f"…{secret[-4:]}" for secret in known.facts.secrets if secret in known.facts.log]
    traces = known.facts.log.count("Traceback (most recent call last)")
    traced = [Breach(f"{traces} tracebacks in the log")] if traces else []
    return _breach("secrets in the log", told) + traced


def i11_one_event_a_slot(known: Known) -> Found:
    slots = Counter(
        (event.source, event.key) for event in known.facts.events if event.type.startswith("schedule.")
    )
    twice = [key for (_, key), count in slots.items() if count > 1]
    found = _breach("slots that fired twice", twice, "doubled")
    if known.facts.slots is not None:
        fired = {key for _, key in slots}
        found += _breach("slots that never fired", known.facts.slots - fired, "lost")
    return found


def i12_the_database_is_whole(known: Known) -> Found:
    return [Breach(f"the database is damaged: {line}") for line in known.facts.integrity]


INVARIANTS: dict[str, Callable[[Known], Found]] = {
    "I1": i1_acknowledged_is_stored,
    "I2": i2_every_task_ends,
    "I3": i3_succeeded_means_accepted,
    "I4": i4_nothing_is_sent_twice_unasked,
    "I5": i5_nothing_ends_twice,
    "I6": i6_attempts_are_bounded,
    "I7": i7_a_stale_fence_changes_nothing,
    "I8": i8_recovery_is_quick,
    "I9": i9_processes_are_calm,
    "I10": i10_nothing_leaks,
    "I11": i11_one_event_a_slot,
    "I12": i12_the_database_is_whole,
}
