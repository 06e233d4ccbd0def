"""Excel: read and write .xlsx workbooks, those of earlier steps and those on Google Drive."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, ValidationInfo, field_validator

from app.sdk import cells, rows, workbook_edit, workbooks
from app.sdk.cells import Area, AreaText
from app.sdk.context import FileRef
from app.sdk.declare import Batch, Context, Integration, Sample
from app.sdk.errors import RejectedError, TemporaryError
from app.sdk.fields import Settings, Text, setting
from app.sdk.google import GoogleAccount, OAuth, sign_in
from app.sdk.google_files import Drive, DriveId, OvertakenError, drive_setting, file_id, open_drive
from app.sdk.sheet_fields import OneRow, Rows, Values, Watch
from app.sdk.sightings import look
from app.sdk.turns import turn

excel = Integration(
    module=__name__,
    title="Excel",
    about="read and write .xlsx workbooks, also on google drive",
    need="optional",
)

_REF: Final = {
    "id": "fil_01kdj3v0q8f6n6k1m4x2c9b7a5", "name": "orders.xlsx", "type": workbooks.MEDIA_TYPE, "bytes": 9120,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}  # fmt: skip
_ROW: Final = {"Order": "A-1001", "Total": 150}


@excel.connection
class Account(GoogleAccount):
    """A Google account, for workbooks on its drive. Files of earlier steps need none."""

    oauth: ClassVar[OAuth] = sign_in("https://www.googleapis.com/auth/drive", api="Google Drive API")


@excel.check
def check(ctx: Context, connection: Account) -> str:
    """Asks whose drive this is; reads no file."""
    said = open_drive(ctx, connection).service.about().get(fields="user(emailAddress)").execute()
    return f"connected to the drive of {said['user']['emailAddress']}"


class Book(Settings):
    """A workbook: a file of an earlier step, or one on Google Drive."""

    file: FileRef | None = setting(
        "File",
        None,
        help="of an earlier step; a change gives a new file",
        example="{{ steps.download.file }}",
    )
    drive_file: Annotated[Text, AfterValidator(lambda text: text and file_id(text))] = setting(
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


class NewRow(Changed, OneRow):
    """A row to append."""


@excel.action(
    "Append a row",
    idempotent=_is_new_file,
    samples=[Sample({"file": _REF, "row": _ROW}, {"number": 12, "range": "A12:B12", "file": _REF})],
)
def append_row(ctx: Context, connection: Account | None, params: NewRow) -> Mapping[str, Any]:
    """Writes a row below the last one of a workbook. With several workers, use a queue that does one at a time."""

    def edit(sheet: Any) -> Area:
        row = params.placed(lambda: workbook_edit.names_of(sheet), sheet=f"the sheet {sheet.title}")
        return workbook_edit.append(sheet, [row], formulas=params.formulas)

    area, changed = _change(ctx, connection, params, edit)
    return {"number": area.top, "range": str(area), **changed}


class Cells(Changed, Values):
    """Cells and what to write into them."""


@excel.action(
    "Change cells",
    idempotent=True,
    samples=[Sample({"file": _REF, "range": "B5", "values": 150}, {"range": "B5", "file": _REF})],
)
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


@excel.action(
    "Read rows",
    idempotent=True,
    samples=[Sample({"file": _REF, "range": "A1:B2"}, {"sheet": "Orders", "count": 1, "rows": [_ROW]})],
)
def read_range(ctx: Context, connection: Account | None, params: Range) -> Mapping[str, Any]:
    """Reads the rows of a sheet, or some of its cells; formulas give the value that was saved with them."""
    area = cells.parse_area(params.range) if params.range else None
    chunks, _, _ = _source(ctx, connection, params)
    title, lines = workbook_edit.read_lines(chunks, params.sheet, area)
    found: list[Any] = [line.cells for line in lines]
    if params.names and found:
        names = rows.headers(found[0])
        found = [cells.as_object(names, row) for row in found[1:]]
    return {"sheet": title, "count": len(found), "rows": found}


class NewBook(Rows):
    """A workbook to make."""

    name: Text = setting("File name", "rows.xlsx", example="orders.xlsx", min_length=1, max_length=150)
    sheet: Text = setting("Sheet", "Sheet1", min_length=1, max_length=31)


@excel.action(
    "Make a workbook",
    idempotent=True,
    need="none",
    samples=[Sample({"rows": [_ROW], "name": "orders.xlsx"}, {"file": _REF, "rows": 1})],
)
def make_workbook(ctx: Context, connection: None, params: NewBook) -> Mapping[str, Any]:
    """Makes a workbook from rows: objects give a first row of names."""
    name = params.name if params.name.lower().endswith(".xlsx") else f"{params.name}.xlsx"
    save, columns = ctx.files.save, rows.column_names(params.rows)
    chunks = workbooks.write_rows(params.rows, sheet=params.sheet, columns=columns)
    return {"file": save(name, workbooks.MEDIA_TYPE, chunks).model_dump(), "rows": len(params.rows)}


class WatchedBook(Watch):
    """A sheet of a workbook to watch."""

    file: DriveId = drive_setting("File on Google Drive", example="1a2B3c4D5e6F7g8H9i0JkLmNoPqRsTuVw")
    sheet: Text = setting("Sheet", "", help="the name on its tab; empty: the first one", max_length=100)


@excel.poll("New row", every=timedelta(minutes=1), need="required", samples=[{"number": 12, "row": _ROW}])
def new_row(
    ctx: Context, connection: Account, params: WatchedBook, cursor: Any, recent_keys: list[str]
) -> Batch:
    """Starts a rule for each row of a workbook on Google Drive that was not there before; moved ones do not count."""
    drive = open_drive(ctx, connection)
    file = _workbook(drive, params.file)
    if cursor and cursor["version"] == file["headRevisionId"]:
        return Batch([], cursor, [])
    title, lines = workbook_edit.read_lines([drive.content(file)], params.sheet)
    batch = look("new", lines, params, cursor and cursor["seen"], sheet=f"the sheet {title}")
    # After a find there may be more than one look takes.
    version = "" if cursor and batch.occurrences else file["headRevisionId"]
    return Batch(batch.occurrences, {"version": version, "seen": batch.cursor}, [])


# Takes the changed content, and the version on Drive that it was made of.
Keep = Callable[[Iterable[bytes], str], Mapping[str, Any]]


def _source(ctx: Context, connection: Account | None, params: Book) -> tuple[Iterable[bytes], str, Keep]:
    """The workbook's content, its version, and what keeps a changed one."""
    if params.file is not None:
        stored = ctx.files.find(params.file)
        return (
            ctx.files.open(stored),
            "",
            lambda chunks, _: {
                "file": ctx.files.save(stored.name, workbooks.MEDIA_TYPE, chunks).model_dump()
            },
        )
    if connection is None:
        raise RejectedError("a file on google drive needs a connection; choose one")
    drive = open_drive(ctx, connection)
    file = _workbook(drive, params.drive_file)
    return (
        [drive.content(file)],
        file["headRevisionId"],
        lambda chunks, version: {"drive_file": drive.replace(file, chunks, based_on=version)["id"]},
    )


def _change(
    ctx: Context, connection: Account | None, params: Changed, edit: workbook_edit.Edit
) -> tuple[Area, Mapping[str, Any]]:
    """Runs of this process write a file on Drive one after the other; other processes are noticed by its version."""
    if params.file is not None:
        return _changed(ctx, connection, params, edit)
    with turn(f"drive {params.drive_file}"):
        return _changed(ctx, connection, params, edit)


def _changed(
    ctx: Context, connection: Account | None, params: Changed, edit: workbook_edit.Edit
) -> tuple[Area, Mapping[str, Any]]:
    chunks, version, keep = _source(ctx, connection, params)
    area, changed = workbook_edit.edited(chunks, params.sheet, edit)
    try:
        return area, keep(changed, version)
    except OvertakenError as overtaken:
        # Ours without theirs is there now; once more, on top of theirs.
        area, changed = workbook_edit.edited([overtaken.theirs], params.sheet, edit)
        try:
            return area, keep(changed, overtaken.ours)
        except TemporaryError as again:
            raise overtaken from again


def _workbook(drive: Drive, file: str) -> dict[str, Any]:
    found = drive.get(file)
    if "headRevisionId" not in found:
        raise RejectedError(
            f"{found['name']} is no .xlsx workbook; for a google sheet use the google sheets steps"
        )
    return found
