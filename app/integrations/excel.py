"""Excel: read and write .xlsx workbooks, those of earlier steps and those on Google Drive."""

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import ValidationInfo, field_validator

from app.sdk import cells, rows, workbook_edit, workbooks
from app.sdk.books import drive_book, open_book
from app.sdk.cells import Area, AreaText
from app.sdk.context import FileRef
from app.sdk.declare import Batch, Context, Integration
from app.sdk.fields import Settings, Text, setting
from app.sdk.google import GoogleAccount, OAuth, sign_in
from app.sdk.google_files import DriveId, OptionalDriveId, drive_setting, open_drive
from app.sdk.sheet_fields import OneRow, Rows, Values, Watch
from app.sdk.sightings import look
from app.sdk.turns import turn

excel = Integration(
    module=__name__,
    title="Excel",
    about="read and write .xlsx workbooks, also on google drive",
    need="optional",
)


@excel.connection
class Account(GoogleAccount):
    """A Google account, for workbooks on its drive. Files of earlier steps need none."""

    oauth: ClassVar[OAuth] = sign_in("https://www.googleapis.com/auth/drive", api="Google Drive API")


@excel.check
def check(ctx: Context, connection: Account) -> str:
    """Asks whose drive this is; reads no file."""
    return f"connected to the drive of {open_drive(ctx, connection).owner()}"


class Book(Settings):
    """A workbook: a file of an earlier step, or one on Google Drive."""

    file: FileRef | None = setting(
        "File",
        None,
        help="of an earlier step; a change gives a new file",
        example="{{ steps.download.file }}",
    )
    drive_file: OptionalDriveId = setting(
        "File on Google Drive",
        "",
        help="instead: its address in the browser, or its id",
        validate_default=True,
    )
    sheet: Text = setting("Sheet", "", help="the name on its tab; empty: the first one", max_length=100)

    @field_validator("drive_file")
    @classmethod
    def _is_one_of_both(cls, given: str, info: ValidationInfo) -> str:
        if "file" in info.data and bool(given) == bool(info.data["file"]):
            raise ValueError("choose either a file of an earlier step or one on google drive")
        return given


class Changed(Book):
    """A workbook to change."""

    formulas: bool = setting(
        "Text that begins with = is a formula", False, help="values from outside can then run formulas, too"
    )


def _is_new_file(params: Book) -> bool:
    return params.file is not None


def _change(
    ctx: Context, connection: Account | None, params: Changed, edit: workbook_edit.Edit
) -> tuple[Area, Mapping[str, Any]]:
    """Runs of this process write a file on Drive one after the other; other processes are noticed by its version."""
    with turn(f"drive {params.drive_file}") if params.drive_file else nullcontext():
        return open_book(ctx, connection, params.file, params.drive_file).change(params.sheet, edit)


class NewRow(Changed, OneRow):
    """A row to append."""


@excel.action("Append a row", idempotent=_is_new_file)
def append_row(ctx: Context, connection: Account | None, params: NewRow) -> Mapping[str, Any]:
    """Writes a row below the last one of a workbook. With several workers, use a queue that does one at a time."""

    def edit(sheet: Any) -> Area:
        row = params.placed(lambda: workbook_edit.names_of(sheet), sheet=f"the sheet {sheet.title}")
        return workbook_edit.append(sheet, [row], formulas=params.formulas)

    area, changed = _change(ctx, connection, params, edit)
    return {"number": area.top, "range": str(area), **changed}


class Cells(Changed, Values):
    """Cells and what to write into them."""


@excel.action("Change cells", idempotent=True)
def update_cell(ctx: Context, connection: Account | None, params: Cells) -> Mapping[str, Any]:
    """Writes one cell of a workbook, or a rectangle of them."""
    area = cells.parse_area(params.range)
    values = cells.rectangle(area, params.values)
    area, changed = _change(
        ctx,
        connection,
        params,
        lambda sheet: workbook_edit.put(sheet, area, values, formulas=params.formulas),
    )
    return {"range": str(area), **changed}


class Range(Book):
    """Cells to read."""

    range: AreaText = setting("Cells", "", help="such as A1:C10; empty: all", example="A1:C10")
    names: bool = setting("The first of these rows has names", True, help="then rows are objects")


@excel.action("Read rows", idempotent=True)
def read_range(ctx: Context, connection: Account | None, params: Range) -> Mapping[str, Any]:
    """Reads the rows of a sheet, or some of its cells; formulas give the value that was saved with them."""
    area = cells.parse_area(params.range) if params.range else None
    book = open_book(ctx, connection, params.file, params.drive_file)
    title, lines = workbook_edit.read_lines(book.content(), params.sheet, area)
    found: list[Any] = [line.cells for line in lines]
    if params.names and found:
        names = rows.headers(found[0])
        found = [cells.as_object(names, row) for row in found[1:]]
    return {"sheet": title, "count": len(found), "rows": found}


class NewBook(Rows):
    """A workbook to make."""

    name: Text = setting("File name", "rows.xlsx", example="orders.xlsx", min_length=1, max_length=150)
    sheet: Text = setting("Sheet", "Sheet1", min_length=1, max_length=31)


@excel.action("Make a workbook", idempotent=True, need="none")
def make_workbook(ctx: Context, connection: None, params: NewBook) -> Mapping[str, Any]:
    """Makes a workbook from rows: objects give a first row of names."""
    name = params.name if params.name.lower().endswith(".xlsx") else f"{params.name}.xlsx"
    save, columns = ctx.files.save, rows.column_names(params.rows)
    chunks = workbooks.write_rows(params.rows, sheet=params.sheet, columns=columns)
    return {"file": save(name, workbooks.MEDIA_TYPE, chunks).model_dump(), "rows": len(params.rows)}


class WatchedBook(Watch):
    """A sheet of a workbook to watch."""

    file: DriveId = drive_setting(
        "File on Google Drive", example="1a2B3c4D5e6F7g8H9i0JkLmNoPqRsTuVw", place=True
    )
    sheet: Text = setting(
        "Sheet", "", help="the name on its tab; empty: the first one", max_length=100, place=True
    )


@excel.poll("New row", every=timedelta(minutes=1), need="required")
def new_row(
    ctx: Context, connection: Account, params: WatchedBook, cursor: Any, recent_keys: list[str]
) -> Batch:
    """Starts a rule for each row of a workbook on Google Drive that was not there before; moved ones do not count."""
    book = drive_book(ctx, connection, params.file)
    if cursor and cursor["version"] == book.version:
        return Batch([], cursor, [])
    title, lines = workbook_edit.read_lines(book.content(), params.sheet)
    batch = look("new", lines, params, cursor and cursor["seen"], sheet=f"the sheet {title}")
    # After a find there may be more than one look takes.
    version = "" if cursor and batch.occurrences else book.version
    return Batch(batch.occurrences, {"version": version, "seen": batch.cursor}, [])
