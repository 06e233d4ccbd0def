"""Finding a value in the data a rule works with, `event.items[0].name`, and saying what is there instead."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from app.sdk import values

Segment = str | int

MAX_NAMES: Final = 8

_NAME_CHARS = 40
_WORD = re.compile(r"\w[\w-]*")
_PART = re.compile(
    r"\.(?P<word>\w[\w-]*)|\[\s*(?P<index>-?[0-9]{1,9})\s*]|\[\s*(?P<q>[\"'])(?P<key>.*?)(?P=q)\s*]"
)


class PathError(ValueError):
    """Text that is not a path."""


class MissingPath(LookupError):
    """Nothing is there; `available` tells what is, at the deepest level that exists."""

    def __init__(self, path: str, available: str) -> None:
        super().__init__(f"{path} is not there: {available}")
        self.path = path
        self.available = available


@lru_cache(maxsize=2048)
def parse(path: str) -> tuple[Segment, ...]:
    """`event.items[0]['odd key']` as `("event", "items", 0, "odd key")`."""
    head = _WORD.match(path)
    if head is None:
        raise PathError(f'"{path[:60]}" is not a field; write it as event.customer.name or event.items[0]')
    segments: list[Segment] = [head.group()]
    position = head.end()
    while position < len(path):
        part = _PART.match(path, position)
        if part is None:
            raise PathError(f'"{path[:60]}" cannot be read after "{path[:position][-40:]}"')
        segments.append(_segment(part))
        position = part.end()
    return tuple(segments)


def spell(segments: Sequence[object]) -> str:
    """The opposite of `parse`."""
    spelled = str(segments[0])
    for segment in segments[1:]:
        if isinstance(segment, str) and _WORD.fullmatch(segment):
            spelled += f".{segment}"
        elif isinstance(segment, str):
            quote = '"' if "'" in segment else "'"
            spelled += f"[{quote}{segment}{quote}]"
        else:
            spelled += f"[{segment}]"
    return spelled


def lookup(context: Mapping[str, object], path: str | Sequence[object]) -> object:
    """The value at `path`; raises MissingPath. Attributes of Python objects are never reached."""
    segments = parse(path) if isinstance(path, str) else path
    value: object = context
    for depth, segment in enumerate(segments):
        try:
            value = _child(value, segment)
        except LookupError:
            raise MissingPath(spell(segments[: depth + 1]), _available(value, segments[:depth])) from None
    if not isinstance(value, values.DATA):
        raise MissingPath(spell(segments), "it is not data")
    return value


def _segment(part: re.Match[str]) -> Segment:
    if part["index"] is not None:
        return int(part["index"])
    return part["word"] or part["key"]


def _child(value: object, segment: object) -> object:
    if isinstance(value, Mapping) and isinstance(segment, str) and segment in value:
        return value[segment]
    if segment == "size" and isinstance(value, Mapping | list | tuple | str | range):
        return len(value)
    if isinstance(value, list | tuple | range):
        return _item(value, segment)
    raise KeyError(segment)


def _item(items: Sequence[object], segment: object) -> object:
    if segment == "first":
        return items[0]
    if segment == "last":
        return items[-1]
    if isinstance(segment, int) and not isinstance(segment, bool):
        return items[segment]
    raise KeyError(segment)


def _available(value: object, segments: Sequence[object]) -> str:
    if isinstance(value, Mapping):
        return f"{_subject(segments)} {_names(value)}"
    if isinstance(value, list | tuple | range):
        return f"{spell(segments)} is a list of {len(value)}"
    return f"{spell(segments)} is {values.kind(value)}"


def _subject(segments: Sequence[object]) -> str:
    if not segments:
        return "there are"
    return "the event has" if list(segments) == ["event"] else f"{spell(segments)} has"


def _names(value: Mapping[str, object]) -> str:
    names = [str(name)[:_NAME_CHARS] for name in value]
    if not names:
        return "no fields"
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
