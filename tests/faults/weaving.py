"""Weaves what is planned into processes of the product from outside when they start; the product knows nothing of it.

Nothing heavy is imported here: this runs before a worker patches its sockets.
"""

import copy
import importlib.machinery
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.faults.points import NEWER, Woven

# The real one: the wall clock of the process may be shifted.
_time = time.time

_GONE = 97

# --- what is woven where

Wrapping = Callable[["Woven", Callable[..., Any]], Callable[..., Any]]


def _commit(woven: Woven, call: Callable[..., Any]) -> Callable[..., Any]:
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

    def wrapping(woven: Woven, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def noted(*args: Any, **kwargs: Any) -> Any:
            given = call(*args, **kwargs)
            if given is None or given:
                woven.holding.add(name)
            return given

        return noted

    return wrapping


def _ring(woven: Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def rung(*args: Any, **kwargs: Any) -> Any:
        woven.hit("after_commit")
        if woven.hit("no_ring"):
            return None
        given = call(*args, **kwargs)
        woven.hit("after_ring")
        return given

    return rung


def _called(woven: Woven, call: Callable[..., Any]) -> Callable[..., Any]:
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


def _zrem(woven: Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def removed(*args: Any, **kwargs: Any) -> Any:
        given = call(*args, **kwargs)
        woven.hit("tick_removed")
        return given

    return removed


def _always(_woven: Woven, _call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_args, **_kwargs: True


def _shifted(woven: Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def shifted() -> Any:
        return call() + timedelta(seconds=woven.shift_s())

    return shifted


def _shifted_datetime(woven: Woven, kind: Any) -> Any:
    """rq-scheduler asks `datetime.utcnow()` for the time."""

    class Shifted(kind):  # type: ignore[misc]
        @classmethod
        def utcnow(cls) -> Any:
            return kind.utcnow() + timedelta(seconds=woven.shift_s())

    return Shifted


def _shifted_time(woven: Woven, module: Any) -> Any:
    """For a module that imported `time`: its `time()` follows, its `monotonic()` does not."""

    class Shifted:
        @staticmethod
        def time() -> float:
            return _time() + woven.shift_s()

        def __getattr__(self, name: str) -> Any:
            return getattr(module, name)

    return Shifted()


def _hastened(_woven: Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def hastened(attempt: int, *, after_s: float | None = None, random_part: float | None = None) -> float:
        given = call(attempt, after_s=after_s, random_part=random_part)
        return given if after_s is not None else given / 20

    return hastened


def _with_newer(woven: Woven, call: Callable[..., Any]) -> Callable[..., Any]:
    """The catalogue of a newer release: it has an action that the others do not know, the same as another one."""

    @wraps(call)
    def loaded() -> Any:
        catalogue = call()
        if not woven.is_newer:
            return catalogue
        http = catalogue.integrations["http"]
        newer = copy.copy(http)
        integration, _, name = NEWER.partition(".")
        newer.key, newer.triggers = integration, {}
        newer.actions = {name: replace(http.actions["request"], key=NEWER)}
        return type(catalogue)({**catalogue.integrations, integration: newer})

    return loaded


@dataclass(frozen=True)
class Seam:
    """A name of the product (or of a library) that is wrapped; the process ends when it is gone."""

    module: str
    name: str
    wrapping: Wrapping
    points: tuple[str, ...] = ()
    guard: str = ""
    asked: Callable[[Woven], bool] = lambda woven: False

    def is_asked(self, woven: Woven) -> bool:
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
    Seam("app.integrations", "load", _with_newer, asked=lambda woven: bool(woven.newer)),
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


def _listen(woven: Woven, module: ModuleType) -> None:
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


def weave(woven: Woven, module: ModuleType, seam: Seam) -> None:
    """Raises AttributeError where the name is gone."""
    *path, name = seam.name.split(".")
    owner: Any = module
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, name, seam.wrapping(woven, getattr(owner, name)))


class _Weaver(MetaPathFinder):
    """Lets a module be found as ever, and weaves into it when it has been executed."""

    def __init__(self, woven: Woven) -> None:
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
    sys.stderr.write(f"a fail-point has lost its place: {sentence}; mend tests/faults/weaving.py\n")
    sys.stderr.flush()
    os._exit(_GONE)


def install(home: Path) -> None:
    sys.meta_path.insert(0, _Weaver(Woven(home)))
