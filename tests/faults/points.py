"""Named fail-points and removed guards: what a scenario plans, and what one process makes of the plan.

Nothing heavy is imported here: this runs before a worker patches its sockets.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# The real one: a process that is held must not turn its greenlets meanwhile.
_sleep = time.sleep
_time = time.time

_BITE_BYTES, _MOST_EATEN_BYTES = 16 << 20, 3 << 30

# An action that only processes of a newer release know.
NEWER = "newer.request"

POINTS = {
    "after_commit": "after the commit, before the ring",
    "after_ring": "after the ring, before the answer",
    "after_claim": "after a claim is on disk, before it is executed",
    "after_started": "after an attempt is recorded as started, before it is sent",
    "after_ok": "after the provider's ok, before it is recorded",
    "in_commit": "in the middle of a group commit",
    "tick_removed": "between rq-scheduler's removing and re-adding the tick",
    "no_ring": "the ring is lost",
    "in_action": "inside of an action",
}
GUARDS = {
    "announce": "an action that may not be repeated is recorded as started before it is sent (I4)",
    "honest": "only what the provider accepted is recorded as succeeded (I3)",
    "fence": "a write proves by its fence that the task is still the worker's (I7)",
    "settled": "what has ended is not written again (I5)",
    "slot": "a due slot is taken by one, and an event's key is unique (I11)",
}


@dataclass(frozen=True)
class Point:
    """`do` at the `first` hit of a process, and each `every` after it, `times` in all processes together.

    `do`: kill, stop (until continued), hold (the whole process, `hold_s`), eat (memory, until it is ended for that),
    skip (what was to be called).
    """

    name: str
    do: str = "kill"
    first: int = 1
    every: int = 1
    times: int = 1
    process: str = ""
    hold_s: float = 0.0
    # Only where this stands in what the action is called with.
    given: str = ""


@dataclass(frozen=True)
class Plan:
    """What is woven into the processes of one server."""

    points: Sequence[Point] = ()
    removed: Sequence[str] = ()
    # Seconds between tries instead of tens of seconds; the rules for them stay.
    fast_retries: bool = False
    # Whether the wall clock follows the file `shift`.
    clock: bool = False
    # What stands in the command lines of those that are of a newer release.
    newer: Sequence[str] = ()

    def write(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        (home / "plan.json").write_text(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Fired:
    name: str
    pid: int
    at_s: float


def fired(home: Path) -> list[Fired]:
    """Which points fired so far, in their order."""
    log = home / "fired"
    lines = log.read_text().splitlines() if log.exists() else []
    return [Fired(name, int(pid), float(at_s)) for name, pid, at_s in map(str.split, lines)]


def _eat() -> None:
    """A gigabyte a second; the machine must live on where nothing ends it."""
    eaten = []
    while len(eaten) * _BITE_BYTES < _MOST_EATEN_BYTES:
        eaten.append(b"\x01" * _BITE_BYTES)
        _sleep(0.01)


class Woven:
    """The plan as this process follows it."""

    def __init__(self, home: Path) -> None:
        given = json.loads((home / "plan.json").read_text())
        self.home = home
        self.points = [Point(**point) for point in given["points"]]
        self.removed = frozenset(given["removed"])
        self.fast_retries = bool(given["fast_retries"])
        self.clock = bool(given["clock"])
        self.newer = tuple(given["newer"])
        self.hits: dict[str, int] = {}
        # What the commit under way holds, as its units said.
        self.holding: set[str] = set()
        self.commits = 0

    def asks(self, *names: str) -> bool:
        return any(point.name in names for point in self.points)

    def hit(self, name: str, given: Any = None) -> bool:
        """Whether what follows is to be left out."""
        meant = [point for point in self.points if point.name == name and point.given in repr(given)]
        if meant:
            self.hits[name] = self.hits.get(name, 0) + 1
        left_out = [self._fire(point) for point in meant]
        return any(left_out)

    def _fire(self, point: Point) -> bool:
        past = self.hits[point.name] - point.first
        if point.process not in " ".join(sys.orig_argv) or past < 0 or past % point.every:
            return False
        if not self._token(point):
            return False
        with (self.home / "fired").open("a") as log:
            log.write(f"{point.name} {os.getpid()} {_time()}\n")
        if point.do == "hold":
            _sleep(point.hold_s)
        elif point.do == "eat":
            _eat()
        elif point.do != "skip":
            os.kill(os.getpid(), signal.SIGSTOP if point.do == "stop" else signal.SIGKILL)
        return point.do == "skip"

    def _token(self, point: Point) -> bool:
        """One of `times`, counted over all processes."""
        for number in range(point.times):
            try:
                (self.home / f"{point.name}.{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False

    @property
    def is_newer(self) -> bool:
        return any(words in " ".join(sys.orig_argv) for words in self.newer)

    def shift_s(self) -> float:
        try:
            return float((self.home / "shift").read_text() or 0)
        except (OSError, ValueError):
            return 0.0
