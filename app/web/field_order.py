"""In which order a form asks: where it goes, what it says, and how."""

import inspect
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def in_order(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """The parts of a model that need something first, as they are inherited; how to do it at the end.

    What is said comes behind whom it is said to, also where the words are what is inherited.
    """
    parts = list(_parts(model))
    home = {name: part for part in reversed(parts) for name in inspect.get_annotations(part)}
    required = {name: info for name, info in model.model_fields.items() if info.is_required()}
    needed = {home[name] for name in required}
    inherits_words = any(
        _widget(info) == "textarea" for name, info in required.items() if home[name] is not model
    )

    def rank(name: str) -> tuple[int, int]:
        part = home[name]
        if part in needed:
            return 0, -1 if part is model and inherits_words else parts.index(part)
        return 1, -model.__mro__.index(part)

    return sorted(model.model_fields.items(), key=lambda named: rank(named[0]))


def _parts(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """What it inherits from before it, from the left."""
    for base in model.__bases__:
        if issubclass(base, BaseModel):
            yield from _parts(base)
    yield model


def _widget(info: FieldInfo) -> object:
    return info.json_schema_extra.get("widget") if isinstance(info.json_schema_extra, dict) else None
