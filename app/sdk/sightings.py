"""Which rows of a sheet are new and which were changed, by what they hold and beside which rows they stand."""

import base64
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.sdk import values
from app.sdk.cells import Line, as_object, is_empty, place_of
from app.sdk.declare import Batch, Occurrence
from app.sdk.errors import RejectedError
from app.sdk.rows import headers
from app.sdk.sheet_fields import Watch

MAX_LINES: Final = 20_000
_MOST_A_LOOK: Final = 200
_MARK_CHARS: Final = 8

Wanted = Literal["new", "changed"]


@dataclass(frozen=True, slots=True)
class Compared:
    """Places in the rows of now; `changed` has the mark from before beside each."""

    new: list[int]
    changed: list[tuple[int, str]]


def look(wanted: Wanted, lines: Sequence[Line], watch: Watch, cursor: Any, *, sheet: str) -> Batch:
    """One look at a whole sheet, names in its first line."""
    names, rows = _rows(sheet, lines, watch.filled)
    marks = [_mark(row) for row in rows]
    if cursor is None:
        last = range(len(rows))[-watch.first :] if watch.first else range(0)
        return Batch(_occurrences(names, [rows[at] for at in last], 1), _cursor(marks, 1), [])
    compared = compare(_marks(cursor), marks)
    found = compared.new if wanted == "new" else [at for at, _ in compared.changed]
    # What is too much for one look stays as it was before.
    late = set(found[_MOST_A_LOOK:])
    old = dict(compared.changed)
    kept = [old.get(at, "") if at in late else mark for at, mark in enumerate(marks)]
    looks = cursor["looks"] + 1
    taken = [rows[at] for at in found[:_MOST_A_LOOK]]
    return Batch(_occurrences(names, taken, looks), _cursor(kept, looks), [])


def compare(before: Sequence[str], now: Sequence[str]) -> Compared:
    """A row that is only moved is neither. Changed is what stands where, behind the same row, one is missing."""
    was, is_ = list(_numbered(before)), list(_numbered(now))
    kept = set(was) & set(is_)
    gone: defaultdict[Any, list[str]] = defaultdict(list)
    anchor = None
    for one in was:
        if one in kept:
            anchor = one
        else:
            gone[anchor].append(one[0])
    compared, anchor = Compared([], []), None
    for at, one in enumerate(is_):
        if one in kept:
            anchor = one
        elif gone[anchor]:
            compared.changed.append((at, gone[anchor].pop(0)))
        else:
            compared.new.append(at)
    return compared


def _rows(sheet: str, lines: Sequence[Line], filled: str) -> tuple[list[str], list[Line]]:
    if len(lines) > MAX_LINES:
        raise RejectedError(f"{sheet} has more than {MAX_LINES} rows, the most that can be watched")
    names = headers(lines[0].cells) if lines and lines[0].number == 1 else []
    rows = [line for line in lines if line.number > 1 and not all(map(is_empty, line.cells))]
    if filled:
        place = place_of(names, filled, sheet=sheet)
        rows = [line for line in rows if place < len(line.cells) and not is_empty(line.cells[place])]
    return names, rows


def _occurrences(names: list[str], rows: list[Line], looks: int) -> list[Occurrence]:
    """A row that comes again later is another occurrence; the same look repeated is not."""
    return [
        Occurrence(
            f"{looks}-{_mark(row)}-{row.number}",
            {"number": row.number, "row": as_object(names, row.cells)},
        )
        for row in rows
    ]


def _cursor(marks: Sequence[str], looks: int) -> dict[str, Any]:
    return {"looks": looks, "rows": "".join(marks)}


def _marks(cursor: Mapping[str, Any]) -> list[str]:
    rows = cursor["rows"]
    return [rows[at : at + _MARK_CHARS] for at in range(0, len(rows), _MARK_CHARS)]


def _mark(row: Line) -> str:
    text = json.dumps(row.cells, ensure_ascii=True, default=values.text)
    return base64.b64encode(
        hashlib.blake2b(text.encode(), digest_size=_MARK_CHARS * 6 // 8).digest()
    ).decode()


def _numbered(marks: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Rows that are alike get numbers."""
    counted: Counter[str] = Counter()
    for mark in marks:
        counted[mark] += 1
        yield mark, counted[mark]
