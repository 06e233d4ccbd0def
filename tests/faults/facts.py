"""What the checker knows of a scenario: what was sent, what the database holds, what the provider saw."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.generator import Sent
from tests.faults.provider import Entry

TERMINAL = frozenset({"succeeded", "failed", "canceled"})


@dataclass(frozen=True, slots=True)
class Hurt:
    """What was done to the server; `until_s`: when that part was there again. `pids`: who died of it."""

    what: str
    at_s: float
    until_s: float
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Vitals:
    """A process's memory and open files."""

    pid: int
    name: str
    rss_bytes: int
    files: int


@dataclass(frozen=True)
class Facts:
    """All that the checker knows of a run; rows are mappings of their columns, instants seconds."""

    sent: Sequence[Sent]
    ledger: Sequence[Entry]
    events: Sequence[Any]
    runs: Sequence[Any]
    tasks: Sequence[Any]
    attempts: Sequence[Any]
    moves: Sequence[Any]
    heartbeats: Sequence[Any]
    hurts: Sequence[Hurt] = ()
    log: str = ""
    secrets: Sequence[str] = ()
    restarts: int = 0
    before: Sequence[Vitals] = ()
    after: Sequence[Vitals] = ()
    integrity: Sequence[str] = ()
    # Tasks for which a person said "do it again".
    again: frozenset[str] = frozenset()
    # Provider paths whose requests may not be repeated.
    once: frozenset[str] = frozenset()
    slots: frozenset[str] | None = None
    # What the scenario means to leave waiting.
    may_wait: bool = False


class Known:
    """Facts, looked up by what the invariants ask for."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.events = _grouped(facts.events, lambda event: event.key)
        self.runs = _grouped(facts.runs, lambda run: run.event_id)
        self.of_run = _grouped(facts.tasks, lambda task: task.run_id)
        self.by_key = _grouped(facts.tasks, lambda task: task.idempotency_key)
        self.attempts = _grouped(facts.attempts, lambda attempt: attempt.task_id)
        self.moves = _grouped(facts.moves, lambda move: move.task_id)
        self.entries = _grouped(facts.ledger, lambda entry: entry.order)

    def tasks(self, sent: Sent) -> list[Any]:
        if sent.lane.is_task:
            return self.by_key[sent.order]
        runs = [run for event in self.events[sent.order] for run in self.runs[event.id]]
        return [task for run in runs for task in self.of_run[run.id]]

    def is_stored(self, sent: Sent) -> bool:
        return bool(self.tasks(sent))


def _grouped(rows: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    grouped: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        grouped[key(row)].append(row)
    return grouped
