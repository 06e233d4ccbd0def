"""Rows: objects by column name, or lists of cells; read from CSV and JSON, and written as them."""

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from app.sdk import jsonvalues, values
from app.sdk.errors import RejectedError

Row: TypeAlias = Mapping[str, Any] | Sequence[Any]

MAX_ROWS: Final = 20_000
_MAX_CELLS: Final = 400_000
_MAX_FIELD_CHARS: Final = 1024 * 1024
# https://owasp.org/www-community/attacks/CSV_Injection: what a spreadsheet would run.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_DELIMITERS: Final = ",;\t|"
_TEXT_TYPES: Final = {
    "html": "text/html",
    "htm": "text/html",
    "md": "text/markdown",
    "csv": "text/csv",
    "xml": "application/xml",
    "json": "application/json",
    "ics": "text/calendar",
    "vcf": "text/vcard",
}
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def check(value: Any) -> list[Row]:
    """Rows as a template gives them, as JSON text too; raises ValueError for what has no rows."""
    if isinstance(value, str):
        try:
            value = jsonvalues.loads(value.encode("utf-8", "surrogatepass"))
        except jsonvalues.BadJsonError:
            raise ValueError("must be a list of rows, such as {{ steps.read.rows }} alone") from None
    listed = [value] if isinstance(value, Mapping) else value
    if not isinstance(listed, list | tuple) or not all(
        isinstance(row, Mapping | list | tuple) for row in listed
    ):
        raise ValueError("must be a list of rows: of objects, or of lists")
    if len(listed) > MAX_ROWS:
        raise ValueError(f"has more than {MAX_ROWS} rows; take fewer")
    return list(listed)


def text_type(name: str) -> str:
    """The media type that the ending of a text file's name means."""
    return _TEXT_TYPES.get(name.rpartition(".")[2].lower(), "text/plain")


def headers(cells: Sequence[Any]) -> list[str]:
    """The names of columns: one without a name is `column_3`, one that repeats gets a number."""
    names: list[str] = []
    for number, cell in enumerate(cells, start=1):
        name = values.text(cell).strip() or f"column_{number}"
        known = set(names)
        tries = (name if n == 1 else f"{name}_{n}" for n in itertools.count(1))
        names.append(next(tried for tried in tries if tried not in known))
    return names


def from_csv(
    text: str, *, delimiter: str = "", header: bool = True, max_rows: int = MAX_ROWS
) -> list[dict[str, str]] | list[list[str]]:
    """Every cell as text. Without a delimiter, the one of , ; tab | that the first line has most of."""
    csv.field_size_limit(_MAX_FIELD_CHARS)
    source = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or _likeliest(text))
    try:
        lines = [line for line in _bounded(source, max_rows + header) if any(line)]
    except csv.Error as error:
        raise RejectedError(f"this csv cannot be read: {error}") from None
    if not header:
        return lines
    names = headers(lines[0]) if lines else []
    return [dict(zip(names, _filled(line, names), strict=True)) for line in lines[1:]]


def to_csv(
    rows: Iterable[Row], *, columns: Sequence[str] = (), delimiter: str = ",", formulas: bool = False
) -> Iterator[str]:
    """Lines that end in CRLF (RFC 4180). Unless `formulas`, what a spreadsheet would run gets a `'` in front."""
    rows = list(rows)
    names = list(columns) or column_names(rows)
    held = io.StringIO(newline="")
    writer = csv.writer(held, delimiter=delimiter, lineterminator="\r\n")
    if names:
        writer.writerow([_cell(name, formulas=formulas) for name in names])
    for row in rows:
        cells = [row.get(name) for name in names] if isinstance(row, Mapping) else row
        writer.writerow([_cell(cell, formulas=formulas) for cell in cells])
        yield held.getvalue()
        held.seek(0)
        held.truncate()
    yield held.getvalue()


def from_json(raw: bytes, *, path: str = "", max_rows: int = MAX_ROWS) -> list[Any]:
    """The list in a JSON text, at the top or under `path` (`data.items`); one JSON value a line works, too."""
    try:
        found = jsonvalues.loads(raw)
    except jsonvalues.BadJsonError as error:
        found = _json_lines(raw, str(error))
    for name in filter(None, path.split(".")):
        if not isinstance(found, Mapping) or name not in found:
            raise RejectedError(f"there is no {path} in this json; look at its names")
        found = found[name]
    listed = found if isinstance(found, list) else [found]
    if len(listed) > max_rows:
        raise RejectedError(f"this json has more than {max_rows} rows; take a smaller one")
    return listed


def to_json(rows: Iterable[Row]) -> Iterator[str]:
    """A JSON list, a row a line."""
    lead = "[\n"
    for row in rows:
        yield lead + _json(row)
        lead = ",\n"
    yield "[]\n" if lead == "[\n" else "\n]\n"


def column_names(rows: Iterable[Row]) -> list[str]:
    """The names of all the objects, in the order in which they first appear."""
    return list(dict.fromkeys(str(name) for row in rows if isinstance(row, Mapping) for name in row))


def with_fields(value: Any, fields: Sequence[str], rename: Mapping[str, str], *, kept: bool) -> Any:
    """An object, or each of a list, with only these fields or without them, under new names; no fields: all.

    Raises RejectedError for anything else.
    """
    if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        return [with_fields(item, fields, rename, kept=kept) for item in value]
    if not isinstance(value, Mapping):
        raise RejectedError("the value must be an object or a list of objects, such as {{ event }} alone")
    return {
        rename.get(name, name): inner
        for name, inner in value.items()
        if not fields or (name in fields) is kept
    }


def decode(raw: bytes, encoding: str = "") -> str:
    """Text of a file: by its byte order mark, else UTF-8, else Windows-1252, as spreadsheets save it."""
    for mark, name in _BOMS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(name, "replace")
    try:
        return raw.decode(encoding or "utf-8")
    except LookupError:
        raise RejectedError(f"no encoding is called {encoding[:40]}; use utf-8 or windows-1252") from None
    except UnicodeDecodeError:
        return raw.decode("windows-1252", "replace")


def _bounded(lines: Iterable[list[str]], most: int) -> Iterator[list[str]]:
    cells = 0
    for number, line in enumerate(lines, start=1):
        cells += len(line)
        if number > most or cells > _MAX_CELLS:
            raise RejectedError(
                f"this csv has more than {most} rows or {_MAX_CELLS} cells; take a smaller one"
            )
        yield line


def _filled(line: list[str], names: list[str]) -> list[str]:
    """As many cells as there are names; what stands beyond the last name has none, and is left out."""
    return [*line, *[""] * (len(names) - len(line))][: len(names)]


def _likeliest(text: str) -> str:
    first = text.lstrip().partition("\n")[0]
    return max(_DELIMITERS, key=first.count)


def _cell(value: Any, *, formulas: bool) -> str:
    text = values.text(value).replace("\0", "")
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    # A number is no formula: -5 stays -5, "-5+cmd" does not.
    runs = isinstance(value, str) and text.startswith(_FORMULA_STARTS) and values.number(text) is None
    return f"'{text}" if runs and not formulas else text


def _json(row: Row) -> str:
    try:
        return json.dumps(row, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError):
        raise RejectedError("a row cannot be written as json; it holds a number that is too large") from None


def _json_lines(raw: bytes, objection: str) -> list[Any]:
    lines = [line for line in raw.splitlines() if line.strip()]
    try:
        found = [jsonvalues.loads(line) for line in itertools.islice(lines, MAX_ROWS + 1)]
    except jsonvalues.BadJsonError:
        raise RejectedError(objection.replace("the body", "the file")) from None
    if len(found) < 2:
        raise RejectedError(objection.replace("the body", "the file"))
    return found
