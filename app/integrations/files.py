"""Files: rows from CSV, JSON and Excel files and back, and texts as files and PDFs."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator

from app.sdk import pdf, rows, workbooks
from app.sdk.context import FileRef
from app.sdk.declare import Context, Integration
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting

files = Integration(
    module=__name__,
    title="Files",
    about="turn CSV, JSON and Excel files into rows and back, and texts into files and PDFs",
    need="none",
)

Rows = Annotated[Any, AfterValidator(rows.check)]

_MAX_READ_BYTES: Final = 10 * 1024 * 1024
_MAX_TEXT_CHARS: Final = 1_000_000
_DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t"}
_SOURCE: Final = "{{ steps.download.file }}"
_ROWS: Final = "{{ steps.read.rows }}"


# Said once, for many models; a field of one's own stands before those that are inherited.
_FROM: Final = setting("File", example=_SOURCE, help="a file of an earlier step or of the event")
_HEADER: Final = setting("The first row has the names", True)
_NAME: Final = setting("File name", example="orders", min_length=1, max_length=200)
_LIST: Final = setting("Rows", example=_ROWS, help="a list of objects, or of lists")
_COLUMNS: Final = setting("Columns", [], help="in this order; empty for all", widget="list")
_ENCODING: Final = setting("Encoding", "", help="empty: UTF-8, else as spreadsheets save it", example="utf-8")


class CsvFile(Settings):
    """A CSV file."""

    file: FileRef = _FROM
    header: bool = _HEADER
    delimiter: Literal["auto", "comma", "semicolon", "tab"] = setting("Between the values", "auto")
    encoding: Text = _ENCODING


class JsonFile(Settings):
    """A JSON file."""

    file: FileRef = _FROM
    path: Text = setting(
        "List", "", example="data.items", help="where the list is; empty when it is all there is"
    )


class WorkbookFile(Settings):
    """An Excel workbook."""

    file: FileRef = _FROM
    header: bool = _HEADER
    sheet: Text = setting("Sheet", "", example="Orders", help="empty for the first one")


class TextFile(Settings):
    """A text file."""

    file: FileRef = _FROM
    encoding: Text = _ENCODING


class NewCsv(Settings):
    """A CSV file to make."""

    rows: Rows = _LIST
    name: Text = _NAME
    columns: list[Text] = _COLUMNS
    delimiter: Literal["comma", "semicolon", "tab"] = setting("Between the values", "comma")
    formulas: bool = setting(
        "Leave formulas as they are",
        False,
        help="a spreadsheet runs cells that begin with = + - @; without this they get a ' in front",
    )


class NewJson(Settings):
    """A JSON file to make."""

    rows: Rows = _LIST
    name: Text = _NAME


class NewWorkbook(Settings):
    """An Excel workbook to make; its cells are data, never formulas."""

    rows: Rows = _LIST
    name: Text = _NAME
    columns: list[Text] = _COLUMNS
    sheet: Text = setting("Sheet", "Sheet1", max_length=31)


class NewText(Settings):
    """A text or HTML file to make."""

    name: Text = setting("File name", example="letter.html", help="its ending says what it is", min_length=1)
    text: Text = setting(
        "Text",
        example="Dear {{ event.name }}",
        help="in HTML, write {{ event.name | escape }} so that a name cannot become markup",
        widget="textarea",
    )


class NewPdf(Settings):
    """A PDF to make."""

    name: Text = setting("File name", example="bill {{ event.order }}", min_length=1)
    text: Text = setting(
        "Text",
        example="# Bill {{ event.order }}\n\nDear {{ event.name }}\n\n- total: {{ event.total }} €",
        help="# begins a heading, ## a smaller one, - a point of a list; --- is a line across",
        widget="textarea",
    )
    paper: pdf.Paper = setting("Paper", "A4")


@files.action("Read a CSV file", idempotent=True)
def read_csv(ctx: Context, connection: None, params: CsvFile) -> Mapping[str, Any]:
    """Turns a CSV file into rows; every value is text."""
    text = rows.decode(_content(ctx, params.file), params.encoding)
    found = rows.from_csv(text, delimiter=_DELIMITERS.get(params.delimiter, ""), header=params.header)
    return {"rows": found, "count": len(found)}


@files.action("Read a JSON file", idempotent=True)
def read_json(ctx: Context, connection: None, params: JsonFile) -> Mapping[str, Any]:
    """Turns a JSON file into rows: the list in it, or one JSON value a line."""
    found = rows.from_json(_content(ctx, params.file), path=params.path)
    return {"rows": found, "count": len(found)}


@files.action("Read an Excel file", idempotent=True)
def read_xlsx(ctx: Context, connection: None, params: WorkbookFile) -> Mapping[str, Any]:
    """Turns a sheet of an .xlsx workbook into rows; a formula gives the value that was saved with it."""
    found = workbooks.read_rows(ctx.files.open(params.file), sheet=params.sheet, header=params.header)
    return {"rows": found, "count": len(found)}


@files.action("Read a text file", idempotent=True)
def read_text(ctx: Context, connection: None, params: TextFile) -> Mapping[str, Any]:
    """Gives the text of a file, up to a million characters."""
    text = rows.decode(_content(ctx, params.file), params.encoding).replace("\0", "")
    if len(text) > _MAX_TEXT_CHARS:
        raise RejectedError(f"{params.file.name or 'the file'} has more than {_MAX_TEXT_CHARS} characters")
    return {"text": text, "characters": len(text)}


@files.action("Make a CSV file", idempotent=True)
def make_csv(ctx: Context, connection: None, params: NewCsv) -> Mapping[str, Any]:
    """Makes a CSV file from rows, safe to open in a spreadsheet."""
    lines = rows.to_csv(
        params.rows,
        columns=params.columns,
        delimiter=_DELIMITERS[params.delimiter],
        formulas=params.formulas,
    )
    ref = ctx.files.save(_with_ending(params.name, ".csv"), "text/csv", _bytes(lines))
    return {"file": ref.model_dump(), "count": len(params.rows)}


@files.action("Make a JSON file", idempotent=True)
def make_json(ctx: Context, connection: None, params: NewJson) -> Mapping[str, Any]:
    """Makes a JSON file from rows, as they are."""
    content = _bytes(rows.to_json(params.rows))
    ref = ctx.files.save(_with_ending(params.name, ".json"), "application/json", content)
    return {"file": ref.model_dump(), "count": len(params.rows)}


@files.action("Make an Excel file", idempotent=True)
def make_xlsx(ctx: Context, connection: None, params: NewWorkbook) -> Mapping[str, Any]:
    """Makes an .xlsx workbook of one sheet from rows."""
    content = workbooks.write_rows(params.rows, sheet=params.sheet, columns=params.columns)
    ref = ctx.files.save(_with_ending(params.name, ".xlsx"), workbooks.MEDIA_TYPE, content)
    return {"file": ref.model_dump(), "count": len(params.rows)}


@files.action("Make a text or HTML file", idempotent=True)
def make_text(ctx: Context, connection: None, params: NewText) -> Mapping[str, Any]:
    """Makes a file of the text, with the values of the event filled in."""
    media_type = rows.text_type(params.name)
    name = params.name if "." in params.name else f"{params.name}.txt"
    return {"file": ctx.files.save(name, media_type, _bytes([params.text])).model_dump()}


@files.action("Make a PDF", idempotent=True)
def make_pdf(ctx: Context, connection: None, params: NewPdf) -> Mapping[str, Any]:
    """Lays a text out on pages, with headings and lists. Letters that its font lacks, as Chinese, show as boxes."""
    name = _with_ending(params.name, ".pdf")
    content = pdf.write(params.name, params.text, at=ctx.now, paper=params.paper)
    return {"file": ctx.files.save(name, "application/pdf", content).model_dump()}


def _content(ctx: Context, file: FileRef) -> bytes:
    found = ctx.files.find(file)
    if found.bytes > _MAX_READ_BYTES:
        raise RejectedError(
            f"{found.name} is larger than {_MAX_READ_BYTES // 1024**2} MB, the most that is read"
        )
    return b"".join(ctx.files.open(found))


def _with_ending(name: str, ending: str) -> str:
    return name if name.lower().endswith(ending) else name + ending


def _bytes(texts: Iterable[str]) -> Iterable[bytes]:
    return (text.encode("utf-8", "replace") for text in texts)
