"""Changing a workbook in place: rows behind the last one, and single cells, as data unless formulas were asked for."""

import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, Final

from app.sdk import workbooks
from app.sdk.cells import Area, Line, is_empty, parse_area
from app.sdk.errors import RejectedError
from app.sdk.lazily import lazily
from app.sdk.rows import headers

openpyxl = lazily("openpyxl")

# openpyxl takes about fifty times as much memory to change a workbook.
MAX_EDITED_BYTES: Final = 10 * 1024 * 1024
_TURN_ROWS: Final = 200
_MAX_CELLS: Final = 400_000
_MAX_ROWS: Final = 1_048_576
_NOT_A_WORKBOOK: Final = "this is not an .xlsx workbook; save it as .xlsx (older .xls files cannot be read)"
# What openpyxl raises for parts that are missing, cut, encrypted, or hold XML entities.
_BROKEN: Final = (
    ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, EOFError, SyntaxError,
    zipfile.BadZipFile, zlib.error, RuntimeError,
)  # fmt: skip

Edit = Callable[[Any], Area]


def edited(chunks: Iterable[bytes], sheet: str, edit: Edit) -> tuple[Area, Iterator[bytes]]:
    """What `edit` gives for openpyxl's sheet of that name, and the whole workbook after it, in chunks."""
    with workbooks.spooled(chunks) as file:
        workbooks.refuse_bombs(file)
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            size = sum(part.file_size for part in archive.infolist())
        file.seek(0)
        if size > MAX_EDITED_BYTES:
            raise RejectedError(
                f"this workbook has {size // 1024**2} MB unpacked, and one of more than "
                f"{MAX_EDITED_BYTES // 1024**2} MB cannot be changed here; split it"
            )
        if any(name.endswith("vbaProject.bin") for name in names):
            raise RejectedError("this workbook has macros, which would be lost; save it without them")
        workbook = workbooks.load(iter(lambda: file.read(256 * 1024), b""))
    return edit(_sheet(workbook, sheet)), workbooks.save(workbook)


def names_of(sheet: Any) -> list[str]:
    """What the columns are called, from the first row."""
    cells = [workbooks.json_value(cell.value) for cell in sheet[1]]
    while cells and is_empty(cells[-1]):
        cells.pop()
    return headers(cells)


def append(sheet: Any, rows: Sequence[Sequence[Any]], *, formulas: bool) -> Area:
    """Behind the last row that holds anything; a table that ends there grows with it."""
    top = _last_row(sheet) + 1
    area = Area(top, 1, top + len(rows) - 1, max(1, *map(len, rows)))
    if area.bottom > _MAX_ROWS:
        raise RejectedError(f"{sheet.title} is full: excel has no more than {_MAX_ROWS} rows")
    for table in sheet.tables.values():
        place = parse_area(table.ref)
        if place.bottom == top - 1 and not table.totalsRowCount:
            table.ref = str(Area(place.top, place.left, area.bottom, place.right))
            if table.autoFilter is not None:
                table.autoFilter.ref = table.ref
    put(sheet, area, rows, formulas=formulas)
    return area


def put(sheet: Any, area: Area, rows: Sequence[Sequence[Any]], *, formulas: bool) -> Area:
    for number, row in enumerate(rows, start=area.top):
        for place, value in enumerate(row, start=area.left):
            cell = sheet.cell(number, place)
            if not isinstance(cell, openpyxl.cell.cell.MergedCell):
                _set(cell, value, formulas=formulas)
            elif value is not None:
                raise RejectedError(
                    f"{cell.coordinate} is inside of merged cells; write to the first of them"
                )
    return area


def read_lines(chunks: Iterable[bytes], sheet: str, area: Area | None = None) -> tuple[str, list[Line]]:
    """The sheet's name and its rows with their numbers, those that hold nothing left out; formulas by their values.

    With an area, all of its rows, and only its columns.
    """
    with workbooks.spooled(chunks) as file:
        workbooks.refuse_bombs(file)
        workbook = _opened(file)
        try:
            found = _sheet(workbook, sheet)
            # What the file says about its own size would be believed, and filled up with empty cells.
            found.reset_dimensions()
            return found.title, list(
                _lines(found, area or Area(1, 1, _MAX_ROWS, 16_384), whole=area is not None)
            )
        except _BROKEN as error:
            raise RejectedError(_NOT_A_WORKBOOK) from error
        finally:
            workbook.close()


def _opened(file: IO[bytes]) -> Any:
    try:
        return openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    except _BROKEN as error:
        raise RejectedError(_NOT_A_WORKBOOK) from error


def _lines(sheet: Any, area: Area, *, whole: bool) -> Iterator[Line]:
    cells = 0
    rows = sheet.iter_rows(min_row=area.top, max_row=area.bottom, values_only=True)
    for number, found in enumerate(rows, start=area.top):
        row = [
            "" if value is None else workbooks.json_value(value)
            for value in found[area.left - 1 : area.right]
        ]
        cells += len(row)
        if cells > _MAX_CELLS:
            raise RejectedError(f"{sheet.title} has more than {_MAX_CELLS} cells; take a smaller one")
        while row and row[-1] == "":
            row.pop()
        if number % _TURN_ROWS == 0:
            # Much of this is work without waiting: others get their turn now and then.
            time.sleep(0)
        if row or whole:
            yield Line(number, row)


def _sheet(workbook: Any, name: str) -> Any:
    sheets = workbook.worksheets
    found = [sheet for sheet in sheets if not name or sheet.title.casefold() == name.strip().casefold()]
    if not found:
        there = ", ".join(sheet.title for sheet in sheets[:10]) or "none"
        raise RejectedError(f"there is no sheet {name[:60]} in this workbook; was it renamed? it has {there}")
    return found[0]


def _set(cell: Any, value: Any, *, formulas: bool) -> None:
    if formulas and isinstance(value, str) and value.startswith("="):
        cell.value = value
        return
    workbooks.set_data(cell, value, where=cell.coordinate)


def _last_row(sheet: Any) -> int:
    # Only the cells that are there: asking for rows would make a million of them for one format at the end.
    cells = sheet._cells.items()  # noqa: SLF001
    return max((row for (row, _), cell in cells if not is_empty(cell.value)), default=0)
