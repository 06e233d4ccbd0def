"""Google Sheets: write, find and clear rows, and start rules with new or changed ones."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from app.sdk import cells
from app.sdk.cells import Area, AreaText, Line
from app.sdk.declare import Batch, Context, Integration
from app.sdk.fields import Settings, Text, setting
from app.sdk.google import GoogleAccount, GoogleRefusedError, OAuth, gspread_client, sign_in
from app.sdk.google_grid import Grid, book_id, open_grid
from app.sdk.sheet_fields import OneRow, Rows, Values, Watch
from app.sdk.sightings import look

sheets = Integration(
    module=__name__, title="Google Sheets", about="write, find and watch rows of a spreadsheet"
)

_BOOK = "https://docs.google.com/spreadsheets/d/1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms/edit"


@sheets.connection
class Account(GoogleAccount):
    """A Google account, or a service account with whose address the spreadsheets are shared."""

    oauth: ClassVar[OAuth] = sign_in("https://www.googleapis.com/auth/spreadsheets", api="Google Sheets API")


@sheets.check
def check(ctx: Context, connection: Account) -> str:
    """Asks for a spreadsheet that does not exist: Google says so only to an account that it accepts."""
    try:
        gspread_client(ctx, connection).http_client.spreadsheets_get("0" * 44, {"fields": "spreadsheetId"})
    except GoogleRefusedError as error:
        if error.status != 404:
            raise
    who = connection.email
    return (
        f"google accepts this account; share your spreadsheets with {who}"
        if who
        else "google accepts this account"
    )


class Place(Settings):
    """A sheet of a spreadsheet."""

    spreadsheet: Annotated[Text, AfterValidator(book_id)] = setting(
        "Spreadsheet", help="its address in the browser, or the id in it", example=_BOOK, place=True
    )
    sheet: Text = setting(
        "Sheet",
        "",
        help="the name on its tab; empty: the first one",
        example="Orders",
        max_length=100,
        place=True,
    )


class Written(Place):
    """What is written there."""

    formulas: bool = setting(
        "Read cells as if typed",
        False,
        help="then =SUM(A1:A3) is a formula and 1/2 a date; values from outside can then run formulas, too",
    )


class NewRow(Written, OneRow):
    """A row to append."""

    key_column: Text = setting(
        "Key column",
        "",
        help="a column whose value each row has once: a row that is there already is not appended again, "
        "so that a lost answer needs nobody to decide",
    )


class NewRows(Written, Rows):
    """Rows to append."""


@sheets.action("Append a row", idempotent=lambda params: bool(params.key_column))
def append_row(ctx: Context, connection: Account, params: NewRow) -> Mapping[str, Any]:
    """Writes a row below the last one."""
    grid = _grid(ctx, connection, params)
    if not params.key_column:
        return {"appended": True, **_append(grid, [params.placed(grid.names, sheet=grid.title)], params)}
    value = {name.casefold(): value for name, value in params.row.items()}.get(params.key_column.casefold())
    _, line, appended = grid.find_or_append(params.key_column, value, params.row, formulas=params.formulas)
    wide = max(1, len(line.cells))
    return {
        "appended": appended,
        "number": line.number,
        "range": str(Area(line.number, 1, line.number, wide)),
    }


@sheets.action("Append several rows", idempotent=False)
def append_rows(ctx: Context, connection: Account, params: NewRows) -> Mapping[str, Any]:
    """Writes rows below the last one, all of them or none; tells the number of the first."""
    grid = _grid(ctx, connection, params)
    rows = params.placed(grid.names, sheet=grid.title)
    return {"appended": len(rows), **_append(grid, rows, params)}


class Numbered(Written, OneRow):
    """A row by its number."""

    number: int = setting("Row number", help="as the sheet shows it", example="{{ steps.find.number }}", ge=1)


@sheets.action("Change a row", idempotent=True)
def update_row(ctx: Context, connection: Account, params: Numbered) -> Mapping[str, Any]:
    """Writes the named columns of a row; the others stay as they are."""
    grid = _grid(ctx, connection, params)
    row = params.placed(grid.names, sheet=grid.title)
    area = Area(params.number, 1, params.number, len(row))
    return {"number": params.number, "range": str(grid.update(area, [row], formulas=params.formulas))}


class Cells(Written, Values):
    """Cells and what to write into them."""


@sheets.action("Change cells", idempotent=True)
def update_cells(ctx: Context, connection: Account, params: Cells) -> Mapping[str, Any]:
    """Writes one cell or a rectangle of them."""
    grid, area = _grid(ctx, connection, params), cells.parse_area(params.range)
    rows = cells.rectangle(area, params.values)
    return {"range": str(grid.update(area, rows, formulas=params.formulas))}


class Search(Place):
    """A value in a column."""

    column: Text = setting("Column", help="its name in the first row", example="Order", min_length=1)
    value: Any = setting(
        "Value", help="capitals do not count", example="{{ event.order }}", widget="textarea"
    )


@sheets.action("Find a row", idempotent=True)
def find_row(ctx: Context, connection: Account, params: Search) -> Mapping[str, Any]:
    """Finds the first row that has a value in a column; found is false when there is none."""
    names, found = _grid(ctx, connection, params).find(params.column, params.value)
    return _found(names, found)


class SearchOrNew(Search):
    """A value in a column, and the row to append when there is none."""

    row: dict[str, Any] = setting(
        "Otherwise append", {}, example={"Total": "{{ event.total }}"}, widget="pairs"
    )


@sheets.action("Find or append a row", idempotent=True)
def find_or_create_row(ctx: Context, connection: Account, params: SearchOrNew) -> Mapping[str, Any]:
    """Finds the first row that has a value in a column, or appends one with it."""
    row = {**params.row, params.column: params.value}
    names, line, appended = _grid(ctx, connection, params).find_or_append(params.column, params.value, row)
    return {**_found(names, line), "found": not appended}


class Emptied(Place):
    """Cells to empty."""

    range: AreaText = setting(
        "Cells", "", help="such as B5:C6; empty: all below the first row", example="A2:C9"
    )


@sheets.action("Empty cells", idempotent=True)
def clear(ctx: Context, connection: Account, params: Emptied) -> Mapping[str, Any]:
    """Empties cells; their formats stay."""
    grid = _grid(ctx, connection, params)
    if params.range:
        return {"range": str(grid.clear(cells.parse_area(params.range)))}
    lines = grid.lines()
    if len(lines) < 2:
        return {"range": ""}
    return {"range": str(grid.clear(Area(2, 1, len(lines), max(len(line.cells) for line in lines))))}


class NewSheet(Place):
    """A sheet to add."""

    sheet: Text = setting("Name", help="of its tab", example="Orders 2026", min_length=1, max_length=100)
    columns: list[Text] = setting("Columns", [], help="names for the first row", example=["Order", "Total"])


@sheets.action("Add a sheet", idempotent=True)
def create_sheet(ctx: Context, connection: Account, params: NewSheet) -> Mapping[str, Any]:
    """Adds a sheet with names in its first row, unless there is one of that name."""
    return {"created": _grid(ctx, connection, params).add(params.columns), "sheet": params.sheet}


def _grid(ctx: Context, connection: Account, params: Place) -> Grid:
    return open_grid(ctx, connection, params.spreadsheet, params.sheet)


def _append(grid: Grid, rows: list[list[Any]], params: Written) -> dict[str, Any]:
    area = grid.append(rows, formulas=params.formulas)
    return {"number": area.top, "range": str(area)}


def _found(names: list[str], line: Line | None) -> Mapping[str, Any]:
    if line is None:
        return {"found": False, "number": None, "row": {}}
    return {"found": True, "number": line.number, "row": cells.as_object(names, line.cells)}


class WatchedSheet(Place, Watch):
    """A sheet to watch."""


@sheets.poll("New row", every=timedelta(minutes=1))
def new_row(
    ctx: Context, connection: Account, params: WatchedSheet, cursor: Any, recent_keys: list[str]
) -> Batch:
    """Starts a rule for each row that was not there before, wherever it was put; moved rows do not count."""
    grid = _grid(ctx, connection, params)
    return look("new", grid.lines(), params, cursor, sheet=grid.title)


@sheets.poll("Changed row", every=timedelta(minutes=1))
def changed_row(
    ctx: Context, connection: Account, params: WatchedSheet, cursor: Any, recent_keys: list[str]
) -> Batch:
    """Starts a rule for each row in which a cell was changed; new rows do not count."""
    grid = _grid(ctx, connection, params)
    return look("changed", grid.lines(), params, cursor, sheet=grid.title)
