"""The scenarios by their number, and how one is played: by the command and by pytest alike."""

import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import checker
from tests.faults.checker import Report
from tests.faults.databases import Databases
from tests.faults.facts import Facts
from tests.faults.gather import facts_of
from tests.faults.server import Stage
from tests.faults.staging import Setting, staged

QUICK_EVENTS = 200
FULL_EVENTS = 2000
LONGEST_S = 240.0
LONGEST_AN_EVENT_S = 0.3


@dataclass(frozen=True)
class Scenario:
    """`quick`: played in `./run test` too. `events`: at most, where more would prove no more."""

    number: str
    name: str
    fault: str
    promise: str
    play: Callable[[Stage], None]
    setting: Callable[[int], Setting]
    quick: bool = False
    events: int | None = None
    databases: tuple[str, ...] = ("sqlite", "postgres")
    invariants: tuple[str, ...] = field(default=())

    @property
    def family(self) -> str:
        return self.number.rstrip("abcdefgh")


SCENARIOS: dict[str, Scenario] = {}


def in_order() -> list[Scenario]:
    """F2 before F10."""
    return sorted(SCENARIOS.values(), key=lambda each: (int(each.family[1:]), each.number))


def scenario(
    number: str,
    fault: str,
    promise: str,
    *,
    setting: Setting | Callable[[int], Setting] | None = None,
    quick: bool = False,
    events: int | None = None,
    databases: tuple[str, ...] = ("sqlite", "postgres"),
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """`promise`: the numbers of the design's promises that it tries to break; `setting` may depend on the seed."""

    def register(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
        made = setting or Setting()
        make = made if callable(made) else (lambda _seed: made)
        SCENARIOS[number] = Scenario(
            number, play.__name__, fault, promise, play, make, quick=quick, events=events, databases=databases
        )
        return play

    return register


@dataclass(frozen=True)
class Played:
    report: Report
    facts: Facts | None
    notes: tuple[str, ...] = ()


def play(
    scenario: Scenario, databases: Databases, *, seed: int, events: int, setting: Setting | None = None
) -> Played:
    """Play it once, in an empty home; `setting` instead of its own."""
    events = events if scenario.events is None else min(events, scenario.events)
    longest_s = LONGEST_S + LONGEST_AN_EVENT_S * events
    with tempfile.TemporaryDirectory(prefix="bq-fault-") as home:
        place = Path(home)
        wanted = setting or scenario.setting(seed)
        try:
            with _bounded(longest_s), staged(wanted, databases, place, seed=seed, events=events) as stage:
                scenario.play(stage)
                facts = facts_of(stage)
        except Exception as error:  # noqa: BLE001 - whatever a scenario raises is its line in the table
            return Played(_cut_short(scenario, databases, seed, error), None)
        finally:
            _keep(place, f"{scenario.number}-{databases.kind}")
        report = checker.report(
            facts, scenario.number, seed=seed, database=databases.kind, more=stage.objections
        )
    return Played(report, facts, tuple(stage.notes))


def _cut_short(scenario: Scenario, databases: Databases, seed: int, error: Exception) -> Report:
    sentence = f"it could not be played to its end: {type(error).__name__}: {str(error)[-600:]}"
    return Report(
        scenario.number,
        0,
        0,
        0,
        0,
        None,
        None,
        "BROKEN",
        seed,
        database=databases.kind,
        sentences=(sentence,),
    )


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Raises TimeoutError inside of the block; only a main thread can be bounded so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(*_signal: object) -> None:
        raise TimeoutError(f"not within {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Where what a broken scenario left is kept, if anywhere.
keep_in: list[Path] = []


def _keep(home: Path, name: str) -> None:
    for place in keep_in:
        place.mkdir(parents=True, exist_ok=True)
        if (log := home / "server.log").exists():
            (place / f"{name}.log").write_bytes(log.read_bytes())
