"""Named fail-points and removed guards, woven into processes of the product from outside when they start.

The product knows nothing of them. Nothing heavy is imported here: this runs before a worker patches its sockets.
"""

import importlib.machinery
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import wraps
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

# The real one: a process that is held must not turn its greenlets meanwhile.
_sleep = time.sleep
_time = time.time

_GONE = 97

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

    `do`: kill, stop (until continued), hold (the whole process, `hold_s`), skip (what was to be called).
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


class _Woven:
    """The plan as this process follows it."""

    def __init__(self, home: Path) -> None:
        given = json.loads((home / "plan.json").read_text())
        self.home = home
        self.points = [Point(**point) for point in given["points"]]
        self.removed = frozenset(given["removed"])
        self.fast_retries = bool(given["fast_retries"])
        self.clock = bool(given["clock"])
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

    def shift_s(self) -> float:
        try:
            return float((self.home / "shift").read_text() or 0)
        except (OSError, ValueError):
            return 0.0


# --- what is woven where

Wrapping = Callable[["_Woven", Callable[..., Any]], Callable[..., Any]]


def _commit(woven: _Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def committed(*args: Any, **kwargs: Any) -> Any:
        woven.holding.clear()
        woven.commits += 1
        try:
            given = call(*args, **kwargs)
        finally:
            woven.commits -= 1
        for name in sorted(woven.holding):
            woven.hit(name)
        return given

    return committed


def _noting(name: str) -> Wrapping:
    """What the commit under way brings to the disk; the point comes when it is there."""

    def wrapping(woven: _Woven, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def noted(*args: Any, **kwargs: Any) -> Any:
            given = call(*args, **kwargs)
            if given is None or given:
                woven.holding.add(name)
            return given

        return noted

    return wrapping


def _ring(woven: _Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def rung(*args: Any, **kwargs: Any) -> Any:
        woven.hit("after_commit")
        if woven.hit("no_ring"):
            return None
        given = call(*args, **kwargs)
        woven.hit("after_ring")
        return given

    return rung


def _called(woven: _Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def called(*args: Any, **kwargs: Any) -> Any:
        woven.hit("in_action", args)
        try:
            given = call(*args, **kwargs)
        except Exception:
            if "honest" not in woven.removed:
                raise
            given = {}
        woven.hit("after_ok")
        return given

    return called


def _zrem(woven: _Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def removed(*args: Any, **kwargs: Any) -> Any:
        given = call(*args, **kwargs)
        woven.hit("tick_removed")
        return given

    return removed


def _always(_woven: _Woven, _call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_args, **_kwargs: True


def _shifted(woven: _Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def shifted() -> Any:
        return call() + timedelta(seconds=woven.shift_s())

    return shifted


def _shifted_datetime(woven: _Woven, kind: Any) -> Any:
    """rq-scheduler asks `datetime.utcnow()` for the time."""

    class Shifted(kind):  # type: ignore[misc]
        @classmethod
        def utcnow(cls) -> Any:
            return kind.utcnow() + timedelta(seconds=woven.shift_s())

    return Shifted


def _shifted_time(woven: _Woven, module: Any) -> Any:
    """For a module that imported `time`: its `time()` follows, its `monotonic()` does not."""

    class Shifted:
        @staticmethod
        def time() -> float:
            return _time() + woven.shift_s()

        def __getattr__(self, name: str) -> Any:
            return getattr(module, name)

    return Shifted()


def _hastened(_woven: _Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def hastened(attempt: int, *, after_s: float | None = None, random_part: float | None = None) -> float:
        given = call(attempt, after_s=after_s, random_part=random_part)
        return given if after_s is not None else given / 20

    return hastened


@dataclass(frozen=True)
class Seam:
    """A name of the product (or of a library) that is wrapped; the process ends when it is gone."""

    module: str
    name: str
    wrapping: Wrapping
    points: tuple[str, ...] = ()
    guard: str = ""
    asked: Callable[[_Woven], bool] = lambda woven: False

    def is_asked(self, woven: _Woven) -> bool:
        return woven.asks(*self.points) or self.guard in woven.removed or self.asked(woven)


_AT_COMMIT = ("after_claim", "after_started", "in_commit")
SEAMS = (
    Seam("app.engine.commit", "GroupCommit._serve", _commit, _AT_COMMIT),
    Seam("app.engine.claim", "claim", _noting("after_claim"), ("after_claim",)),
    Seam("app.engine.record", "begin", _noting("after_started"), ("after_started",)),
    Seam("app.engine.doorbell", "Doorbell.ring", _ring, ("after_commit", "after_ring", "no_ring")),
    Seam("app.engine.call", "called", _called, ("after_ok", "in_action"), "honest"),
    Seam("app.sdk.declare", "Action.is_repeatable", _always, (), "announce"),
    Seam("redis.commands.core", "SortedSetCommands.zrem", _zrem, ("tick_removed",)),
    Seam("app.clock", "now", _shifted, asked=lambda woven: woven.clock),
    Seam("app.engine.doorbell", "time", _shifted_time, asked=lambda woven: woven.clock),
    Seam("rq_scheduler.scheduler", "datetime", _shifted_datetime, asked=lambda woven: woven.clock),
    Seam("app.engine.policy", "pause_s", _hastened, asked=lambda woven: woven.fast_retries),
)

# --- guards that are a part of a statement

_VALUE = r"(?:\?|%\(\w+\)s(?:::\w+)?)"
_WITHOUT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "fence": ((rf"(tasks\.fence = {_VALUE})", r"(\1 OR 1 = 1)"),),
    "settled": (
        (rf"(tasks\.fence = {_VALUE})", r"(\1 OR 1 = 1)"),
        (rf"(?<=AND )(tasks\.state = {_VALUE})(?!\s+ORDER)", r"(\1 OR 1 = 1)"),
    ),
    "slot": (
        (rf"(triggers\.next_due_at (?:=|IS NOT DISTINCT FROM|IS) {_VALUE})", r"(\1 OR 1 = 1)"),
        (r'ON CONFLICT \(source, "?key"?\) DO NOTHING', ""),
    ),
}


def without_guard(statement: str, removed: frozenset[str]) -> str:
    if "settled" in removed and not statement.startswith("UPDATE tasks SET"):
        return statement
    for guard in removed & _WITHOUT.keys():
        for found, instead in _WITHOUT[guard]:
            statement = re.sub(found, instead, statement)
    return statement


def _listen(woven: _Woven, module: ModuleType) -> None:
    """`module` has imported SQLAlchemy."""
    alchemy: Any = module.sa
    if woven.removed & _WITHOUT.keys():

        def rewritten(_c: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> Any:
            return without_guard(statement, woven.removed), parameters

        alchemy.event.listen(alchemy.Engine, "before_cursor_execute", rewritten, retval=True)
    if woven.asks("in_commit"):

        def committing(_connection: Any) -> None:
            if woven.commits:
                woven.hit("in_commit")

        alchemy.event.listen(alchemy.Engine, "commit", committing)


# --- weaving


def weave(woven: _Woven, module: ModuleType, seam: Seam) -> None:
    """Raises AttributeError where the name is gone."""
    *path, name = seam.name.split(".")
    owner: Any = module
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, name, seam.wrapping(woven, getattr(owner, name)))


class _Weaver(MetaPathFinder):
    """Lets a module be found as ever, and weaves into it when it has been executed."""

    def __init__(self, woven: _Woven) -> None:
        self._woven = woven
        self._seams = [seam for seam in SEAMS if seam.is_asked(woven)]
        self._modules = {seam.module for seam in self._seams} | {"app.engine.commit"}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname not in self._modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            _end(f"there is no module {fullname}")
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._weave(module)

        loader.exec_module = exec_module
        return spec

    def _weave(self, module: ModuleType) -> None:
        try:
            for seam in self._seams:
                if seam.module == module.__name__:
                    weave(self._woven, module, seam)
            if module.__name__ == "app.engine.commit":
                _listen(self._woven, module)
        except AttributeError as error:
            _end(f"{module.__name__}: {error}")


def _end(sentence: str) -> None:
    sys.stderr.write(f"a fail-point has lost its place: {sentence}; mend tests/faults/points.py\n")
    sys.stderr.flush()
    os._exit(_GONE)


def install(home: Path) -> None:
    sys.meta_path.insert(0, _Weaver(_Woven(home)))
