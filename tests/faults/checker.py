"""The checker: generator, database and ledger, once all is quiet; what is broken, and the scenario's line."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.faults.facts import Facts, Known
from tests.faults.invariants import INVARIANTS, Found
from tests.faults.recovery import percentile, recoveries


@dataclass(frozen=True, slots=True)
class Report:
    """A scenario's line in the table."""

    scenario: str
    events: int
    lost: int
    doubled: int
    uncertain: int
    recovery_p50_s: float | None
    recovery_p99_s: float | None
    result: str
    seed: int
    database: str = "sqlite"
    sentences: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        return self.result == "passed"


def broken(facts: Facts) -> dict[str, Found]:
    """Invariant → its breaches; empty when all hold."""
    known = Known(facts)
    found = {name: check(known) for name, check in INVARIANTS.items()}
    return {name: breaches for name, breaches in found.items() if breaches}


def report(facts: Facts, scenario: str, *, seed: int, database: str, more: Sequence[str] = ()) -> Report:
    """`more`: what the scenario itself found wrong."""
    found = broken(facts)
    taken = recoveries(Known(facts))
    every = [breach for breaches in found.values() for breach in breaches]
    sentences = [f"{name}: {breach.sentence}" for name, breaches in found.items() for breach in breaches]
    return Report(
        scenario=scenario,
        events=len(facts.sent) or len(facts.events),
        lost=len(frozenset().union(*(breach.lost for breach in every))),
        doubled=len(frozenset().union(*(breach.doubled for breach in every))),
        uncertain=sum(task.state == "uncertain" for task in facts.tasks),
        recovery_p50_s=percentile(taken, 50) if taken else None,
        recovery_p99_s=percentile(taken, 99) if taken else None,
        result="passed" if not (sentences or more) else "BROKEN",
        seed=seed,
        database=database,
        sentences=(*sentences, *more),
    )
