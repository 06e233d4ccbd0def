"""Workbooks (.xlsx): read and written with openpyxl, bombs refused, and cells that are data, never formulas."""

import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from typing import IO, Any, Final, TypeAlias

from app.sdk import values
from app.sdk.context import MAX_FILE_BYTES
from app.sdk.errors import RejectedError
from app.sdk.lazily import lazily
from app.sdk.rows import column_names, headers

openpyxl = lazily("openpyxl")

Row: TypeAlias = Mapping[str, Any] | Sequence[Any]

MEDIA_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MAX_UNPACKED_BYTES: Final = 200 * 1024 * 1024
MAX_PARTS: Final = 2_000
MAX_ROWS: Final = 20_000
# What Excel itself allows in one cell; openpyxl would cut it without a word.
MAX_CELL_CHARS: Final = 32_767
_MAX_CELLS: Final = 400_000
_IN_MEMORY_BYTES: Final = 1024 * 1024
_CHUNK_BYTES: Final = 256 * 1024
# Larger whole numbers would lose digits: Excel keeps 15.
_MAX_EXACT: Final = 10**15
_TURN_ROWS: Final = 100
_NOT_A_WORKBOOK: Final = "this is not an .xlsx workbook; save it as .xlsx (older .xls files cannot be read)"
# What openpyxl raises for parts that are missing, cut, encrypted, or hold XML entities.
_BROKEN: Final = (
    ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, EOFError, SyntaxError,
    zipfile.BadZipFile, zlib.error, RuntimeError,
)  # fmt: skip


def read_rows(
    chunks: Iterable[bytes], *, sheet: str = "", header: bool = True, max_rows: int = MAX_ROWS
) -> list[Any]:
    """The rows of a sheet (the first one without a name) as JSON values, empty ones left out.

    With `header`, objects by the names in the first row, else lists. Formulas give the value that was saved
    with them. Raises RejectedError for what is no workbook, a bomb, too long, or has no such sheet.
    """
    with spooled(chunks) as file:
        workbook = _open(file, read_only=True, data_only=True)
        try:
            return list(_rows(_sheet(workbook, sheet), header=header, max_rows=max_rows))
        except _BROKEN as error:
            raise RejectedError(_NOT_A_WORKBOOK) from error
        finally:
            workbook.close()


def write_rows(rows: Sequence[Row], *, sheet: str = "Sheet1", columns: Sequence[str] = ()) -> Iterator[bytes]:
    """A new workbook in chunks: a bold first row of names when the rows are objects.

    Raises RejectedError at once for a text that no cell holds.
    """
    names = list(columns) or column_names(rows)
    # All of it before a workbook is begun: openpyxl leaves an open file behind when one is given up.
    lines = [
        [_known(cell, f"row {number}") for cell in _cells(row, names)]
        for number, row in enumerate(rows, start=1)
    ]
    return _written(names, lines, _sheet_name(sheet))


def _written(names: Sequence[str], lines: Sequence[Sequence[Any]], title: str) -> Iterator[bytes]:
    """The workbook is begun with the first chunk that is asked for, and is whole before it is given."""
    workbook = openpyxl.Workbook(write_only=True)
    table = workbook.create_sheet(title)
    if names:
        table.append([data_cell(table, name, bold=True) for name in names])
    for number, line in enumerate(lines, start=1):
        table.append([data_cell(table, cell) for cell in line])
        _give_way(number)
    yield from save(workbook)


def load(chunks: Iterable[bytes]) -> Any:
    """openpyxl's Workbook of a file in chunks, looked at before it is opened; formulas stay formulas."""
    with spooled(chunks) as file:
        return _open(file)


def save(workbook: Any) -> Iterator[bytes]:
    """Its content in chunks."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        workbook.save(file)
        file.seek(0)
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


@contextmanager
def spooled(chunks: Iterable[bytes]) -> Iterator[IO[bytes]]:
    """A file that can be read anywhere; on disk when it is large. Raises RejectedError over 25 MB."""
    size = 0
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        for chunk in chunks:
            size += len(chunk)
            if size > MAX_FILE_BYTES:
                raise RejectedError(f"the file is larger than {MAX_FILE_BYTES // 1024**2} MB")
            file.write(chunk)
        file.seek(0)
        yield file


def refuse_bombs(file: IO[bytes]) -> None:
    """Raises RejectedError unless the ZIP's own list promises a bearable size; more than that is never read.

    The promise can be believed: zipfile stops reading a part at the size that its entry declares.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise RejectedError(_NOT_A_WORKBOOK) from error
    finally:
        file.seek(0)
    if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED_BYTES:
        raise RejectedError(
            f"this workbook would unpack to more than {MAX_UNPACKED_BYTES // 1024**2} MB; split it first"
        )
    if any(part.filename.startswith("/") or ".." in part.filename.split("/") for part in parts):
        raise RejectedError(_NOT_A_WORKBOOK)


def data_cell(sheet: Any, value: Any, *, bold: bool = False) -> Any:
    """A cell for `sheet.append` that holds `value` as it is: text stays text, `=1+1` too."""
    cell = openpyxl.cell.WriteOnlyCell(sheet)
    set_data(cell, value)
    if bold:
        cell.font = openpyxl.styles.Font(bold=True)
    return cell


def set_data(cell: Any, value: Any, *, where: str = "a cell") -> None:
    """Put `value` into a cell as data; only a caller that was asked for a formula may set `cell.value` itself."""
    known = _known(value, where)
    if isinstance(known, str):
        # Excel would read what begins with = as a formula when the cell is edited: the quote says it is text.
        cell.quotePrefix = known[:1] in ("=", "+", "-", "@")
        # Set in full, so that openpyxl does not guess a formula or an error from the text.
        cell.value, cell.data_type = known, "s"
        return
    cell.value = known


def json_value(value: Any) -> Any:
    """What a cell holds, as JSON: dates as ISO 8601, whole floats as whole numbers."""
    if isinstance(value, datetime):
        return (
            value.date().isoformat() if value.time() == clock_time() else value.isoformat(timespec="seconds")
        )
    if isinstance(value, date | clock_time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _MAX_EXACT else value
    return value if isinstance(value, str | int | bool | None) else str(value)


def _cells(row: Row, names: Sequence[str]) -> Sequence[Any]:
    return [row.get(name) for name in names] if isinstance(row, Mapping) else row


def _known(value: Any, where: str) -> Any:
    """A type that a cell can hold without losing anything; raises RejectedError for what is too long."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < _MAX_EXACT else str(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date | clock_time):
        return value.replace(tzinfo=None) if isinstance(value, datetime | clock_time) else value
    text = openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE.sub("", values.text(value))
    if len(text) > MAX_CELL_CHARS:
        raise RejectedError(f"{where} holds a text of more than {MAX_CELL_CHARS} characters; shorten it")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _open(file: IO[bytes], **options: bool) -> Any:
    refuse_bombs(file)
    try:
        return openpyxl.load_workbook(file, keep_links=False, **options)
    except _BROKEN as error:
        raise RejectedError(_NOT_A_WORKBOOK) from error


def _sheet(workbook: Any, name: str) -> Any:
    sheets = workbook.worksheets
    found = [sheet for sheet in sheets if not name or sheet.title.casefold() == name.strip().casefold()]
    if not found:
        there = ", ".join(sheet.title for sheet in sheets[:10]) or "none"
        raise RejectedError(f"there is no sheet {name[:60]} in this workbook; it has {there}")
    return found[0]


def _rows(sheet: Any, *, header: bool, max_rows: int) -> Iterator[Any]:
    names: list[str] | None = None
    count = cells = 0
    for found in sheet.iter_rows(values_only=True):
        row = [json_value(value) for value in found]
        cells += len(row)
        if cells > _MAX_CELLS:
            raise RejectedError(f"{sheet.title} has more than {_MAX_CELLS} cells; take a smaller one")
        if not any(value not in (None, "") for value in row):
            continue
        if header and names is None:
            names = headers(row)
            continue
        count += 1
        _give_way(count)
        if count > max_rows:
            raise RejectedError(f"{sheet.title} has more than {max_rows} rows; take a smaller one")
        if names is None:
            yield row
            continue
        # A row may be shorter than its sheet is wide.
        yield dict(zip(names, [*row, *[None] * (len(names) - len(row))], strict=False))


def _give_way(number: int) -> None:
    """Much of this is work without waiting: others get their turn now and then."""
    if number % _TURN_ROWS == 0:
        time.sleep(0)


def _sheet_name(name: str) -> str:
    """Excel takes 31 characters, and none of `[]:*?/\\`."""
    plain = "".join("-" if char in "[]:*?/\\" else char for char in name if char.isprintable())
    return plain.strip(" '")[:31] or "Sheet1"
