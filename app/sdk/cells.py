"""Cells of a sheet: A1 notation, rows by the names of columns, and what a cell can hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator

from app.sdk import values
from app.sdk.errors import RejectedError
from app.sdk.rows import headers

# Google and Excel keep a number as a float of 64 bits: 15 digits are sure.
_MAX_EXACT: Final = 10**15
_MAX_COLUMNS: Final = 18_278
_AREA: Final = re.compile(
    r"\$?([A-Za-z]{1,3})\$?([1-9][0-9]{0,6})(?::\$?([A-Za-z]{1,3})\$?([1-9][0-9]{0,6}))?"
)


def _flat(given: Any) -> Any:
    """`["{{ steps.a.rows }}"]` renders to a list with the list of rows in it."""
    if isinstance(given, Mapping):
        return [given]
    if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], list):
        return given
    return given[0] if all(isinstance(row, Mapping | list) for row in given[0]) else given


def _flat_row(given: Any) -> Any:
    """`["{{ steps.a.cells }}"]` renders to a list with the row in it."""
    return given[0] if isinstance(given, list) and len(given) == 1 and isinstance(given[0], list) else given


CellList: TypeAlias = Annotated[list[Any], BeforeValidator(_flat_row)]
RowList: TypeAlias = Annotated[list[dict[str, Any] | list[Any]], BeforeValidator(_flat)]


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of cells; rows and columns are counted from 1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top + 1, self.right - self.left + 1

    def __str__(self) -> str:
        first, last = f"{letters(self.left)}{self.top}", f"{letters(self.right)}{self.bottom}"
        return first if first == last else f"{first}:{last}"


@dataclass(frozen=True, slots=True)
class Line:
    """A row and its number, as the sheet shows it."""

    number: int
    cells: list[Any]


def parse_area(text: str) -> Area:
    """`B5` or `B5:D9`; raises ValueError."""
    found = _AREA.fullmatch(text.strip())
    if found is None:
        raise ValueError("must be a cell such as B5, or a range such as B5:D9")
    left, top = column(found[1]), int(found[2])
    right, bottom = (column(found[3]), int(found[4])) if found[3] else (left, top)
    return Area(min(top, bottom), min(left, right), max(top, bottom), max(left, right))


def _area_text(text: str) -> str:
    return str(parse_area(text)) if text.strip() else ""


AreaText: TypeAlias = Annotated[str, BeforeValidator(values.text), BeforeValidator(_area_text)]


def letters(number: int) -> str:
    """1 is A, 27 is AA."""
    found = ""
    while number > 0:
        number, rest = divmod(number - 1, 26)
        found = chr(ord("A") + rest) + found
    return found


def column(text: str) -> int:
    """A is 1, AA is 27."""
    number = 0
    for letter in text.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def spread_out(names: Sequence[str], row: Mapping[str, Any], *, sheet: str) -> list[Any]:
    """The row's values under their columns, None where the row says nothing; an unknown name is refused."""
    if not names:
        raise RejectedError(
            f"{sheet} has no names in its first row; write them there, or give the cells as a list"
        )
    places = {name.casefold(): place for place, name in enumerate(names)}
    cells: list[Any] = [None] * len(names)
    for name, value in row.items():
        place = places.get(name.strip().casefold())
        if place is None:
            there = ", ".join(names[:20])
            raise RejectedError(f"{sheet} has no column {name[:60]}; it has {there}")
        cells[place] = value
    return cells


def rectangle(area: Area, given: Any) -> list[list[Any]]:
    """One value, a list for one row or column, or a list of rows, as rows that fit the area exactly."""
    rows = given if isinstance(given, list) else [given]
    if not all(isinstance(row, list) for row in rows):
        rows = [[cell] for cell in rows] if area.right == area.left else [rows]
    if len(rows) != area.shape[0] or any(len(row) != area.shape[1] for row in rows):
        high, wide = area.shape
        raise RejectedError(f"{area} has {high} rows of {wide} cells; give as many values")
    return rows


def place_of(names: Sequence[str], name: str, *, sheet: str) -> int:
    """Where the column of that name is, from 0."""
    cells = spread_out(names, {name: True}, sheet=sheet)
    return cells.index(True)


def as_object(names: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    """The row by its names; a cell beyond the last name gets `column_7`."""
    known = list(names) if len(names) >= len(cells) else headers([*names, *[""] * (len(cells) - len(names))])
    return {name: cells[at] if at < len(cells) else "" for at, name in enumerate(known)}


def data(value: Any, *, most_chars: int, where: str) -> Any:
    """What a cell holds of a JSON value: lists and objects as JSON text, numbers that are too long as text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < _MAX_EXACT else str(value)
    text = values.text(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if len(text) > most_chars:
        raise RejectedError(f"{where} holds a text of more than {most_chars} characters; shorten it")
    return text


def is_same(cell: Any, value: Any) -> bool:
    """Whether a cell holds this value: 150 is "150" and 150.0, and capitals do not count."""
    ours, theirs = values.number(value), values.number(cell)
    if ours is not None and theirs is not None:
        return ours == theirs
    return values.text(cell).strip().casefold() == values.text(value).strip().casefold()


def is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())
