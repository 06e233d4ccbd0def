"""The walk through a rule's tree of steps: which place comes first, and which after a given one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from app.models import RuleVersion

Definition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A step and where it stands; `path` names the place in the tree and is unique within a run."""

    path: str
    step: Mapping[str, Any]

    @property
    def key(self) -> str:
        return str(self.step["key"])

    @property
    def kind(self) -> str:
        """A StepKind, or a word that a newer release knows."""
        return str(self.step["kind"])

    @property
    def action(self) -> str | None:
        return self.step.get("action")

    @property
    def connection_id(self) -> str | None:
        return self.step.get("connection")

    @property
    def queue(self) -> str | None:
        return self.step.get("queue")


def first(definition: Definition) -> Place | None:
    return _at(definition["steps"], 0)


def after(definition: Definition, path: str) -> Place | None:
    """The place that follows when the step at `path` is done; None: the run is complete."""
    return _at(definition["steps"], int(path) + 1)


def at(definition: Definition, path: str) -> Place | None:
    return _at(definition["steps"], int(path))


def find(definition: Definition, key: str) -> Place | None:
    """The place of the step with this key."""
    for index, step in enumerate(definition["steps"]):
        if step["key"] == key:
            return Place(str(index), step)
    return None


def _at(steps: Sequence[Mapping[str, Any]], index: int) -> Place | None:
    return Place(str(index), steps[index]) if 0 <= index < len(steps) else None


def definition(connection: sa.Connection, version_id: str) -> Definition:
    """A version's definition; versions never change, so they are remembered."""
    return _definition(_Reader(connection), version_id)


class _Reader:
    """Wraps a connection so that the cache below keys on the version alone."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reader)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=512)
def _definition(reader: _Reader, version_id: str) -> Definition:
    found = reader.connection.scalar(sa.select(RuleVersion.definition).where(RuleVersion.id == version_id))
    if found is None:
        raise LookupError(f"no version {version_id}")
    definition: Definition = found
    return definition
