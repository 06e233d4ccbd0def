import csv
import io
import json
import zipfile
from dataclasses import replace

import openpyxl
import pytest
from pydantic import ValidationError

from app import integrations
from app.sdk import workbooks
from app.sdk.errors import RejectedError
from app.sdk.fields import sentences
from tests.stored import StoredFiles

ACTIONS = integrations.load().integrations["files"].actions
ORDERS = [{"order": "A-1001", "total": 150}, {"order": "A-1002", "total": None, "note": "ü €"}]
HOSTILE = ["=IMPORTXML(1)", "+1+1", "-1+1", "@SUM(1)", "\tx", "\rx", "=cmd|' /C calc'!A0"]


@pytest.fixture
def ctx(ctx):
    return replace(ctx, files=StoredFiles())


def call(ctx, name, /, **params):
    action = ACTIONS[name]
    output = action.call(ctx, None, action.params.model_validate(params))
    json.dumps(output, allow_nan=False)
    return output


def stored(ctx, body, name="orders.csv"):
    return ctx.files.save(name, "text/csv", [body.encode() if isinstance(body, str) else body])


def made(ctx, name, rows, /, **params):
    output = call(ctx, name, rows=rows, name="orders", **params)
    return output["file"], ctx.files.content(output["file"])


# csv


def test_csv_becomes_rows_of_text(ctx):
    file = stored(ctx, 'order,total,note\r\nA-1001,150,"two, please"\r\n\r\nA-1002,=1+1\r\n')

    output = call(ctx, "read_csv", file=file)

    assert output == {
        "rows": [
            {"order": "A-1001", "total": "150", "note": "two, please"},
            {"order": "A-1002", "total": "=1+1", "note": ""},
        ],
        "count": 2,
    }


@pytest.mark.parametrize(
    "raw",
    [
        "name;n\nZoë €;1\n".encode("utf-8-sig"),
        "name;n\nZoë €;1\n".encode("utf-16"),
        "name\tn\nZoë €\t1\n".encode("windows-1252"),
    ],
)
def test_csv_is_read_as_spreadsheets_save_it(ctx, raw):
    assert call(ctx, "read_csv", file=stored(ctx, raw))["rows"] == [{"name": "Zoë €", "n": "1"}]


def test_columns_without_or_with_the_same_name_stay_apart(ctx):
    rows = call(ctx, "read_csv", file=stored(ctx, "a,,a\n1,2,3,4\n"))["rows"]

    assert rows == [{"a": "1", "column_2": "2", "a_2": "3"}]


def test_csv_without_names_is_lists_and_an_empty_one_is_empty(ctx):
    assert call(ctx, "read_csv", file=stored(ctx, "a,b\n1,2\n"), header=False)["rows"] == [
        ["a", "b"],
        ["1", "2"],
    ]
    assert call(ctx, "read_csv", file=stored(ctx, ""))["rows"] == []


@pytest.mark.parametrize("cell", HOSTILE)
def test_a_csv_that_is_made_runs_nothing_unless_asked(ctx, cell):
    _, safe = made(ctx, "make_csv", [{cell: cell, "n": -5}])
    _, asked = made(ctx, "make_csv", [{"a": cell}], formulas=True)

    assert list(csv.reader(io.StringIO(safe.decode(), newline=""))) == [["'" + cell, "n"], ["'" + cell, "-5"]]
    assert list(csv.reader(io.StringIO(asked.decode(), newline="")))[1] == [cell]


def test_rows_of_different_fields_share_their_columns(ctx):
    file, body = made(ctx, "make_csv", ORDERS, delimiter="semicolon")

    assert body.decode() == "order;total;note\r\nA-1001;150;\r\nA-1002;;ü €\r\n"
    assert (file["name"], file["type"]) == ("orders.csv", "text/csv")


def test_columns_can_be_chosen(ctx):
    assert (
        made(ctx, "make_csv", ORDERS, columns=["total", "order"])[1]
        == b"total,order\r\n150,A-1001\r\n,A-1002\r\n"
    )


def test_more_rows_than_are_read_are_refused(ctx):
    with pytest.raises(RejectedError, match="more than 20001 rows"):
        call(ctx, "read_csv", file=stored(ctx, "a\n" * 20_002))
    with pytest.raises(RejectedError, match="larger than 10 MB"):
        call(ctx, "read_csv", file=stored(ctx, b"x" * (10 * 1024 * 1024 + 1)))


# json


@pytest.mark.parametrize(
    ("body", "path", "rows"),
    [
        ('[{"a": "=1+1"}]', "", [{"a": "=1+1"}]),
        ('{"data": {"items": [1, 2]}}', "data.items", [1, 2]),
        ('{"a": 1}', "", [{"a": 1}]),
        ('{"a": 1}\n{"a": 2}\n', "", [{"a": 1}, {"a": 2}]),
    ],
)
def test_json_becomes_rows(ctx, body, path, rows):
    assert call(ctx, "read_json", file=stored(ctx, body), path=path) == {"rows": rows, "count": len(rows)}


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ("", "", "empty"),
        ("{", "", "not JSON"),
        ("[" * 100_000, "", "nested deeper"),
        ('{"a": 1}', "b.c", "no b.c"),
        ("[1e999]", "", "too large"),
        (b"\xff\xfe", "", "UTF-8"),
    ],
)
def test_what_is_no_json_is_told(ctx, body, path, words):
    with pytest.raises(RejectedError, match=words):
        call(ctx, "read_json", file=stored(ctx, body), path=path)


def test_json_is_made_as_it_is(ctx):
    _, body = made(ctx, "make_json", [*ORDERS, {"a": "=1+1\ud800"}])

    assert json.loads(body) == [*ORDERS, {"a": "=1+1\ud800"}]
    assert json.loads(made(ctx, "make_json", [])[1]) == []


# workbooks


def test_a_workbook_comes_back_as_it_was_made(ctx):
    rows = [
        {"order": "A-1001", "total": 150, "part": 1.5, "paid": True, "list": [1]},
        {"order": "007", "total": None},
    ]

    file, _ = made(ctx, "make_xlsx", rows, sheet="Orders: [new]")
    found = call(ctx, "read_xlsx", file=file, sheet="orders- -new-")

    assert found["rows"] == [
        {"order": "A-1001", "total": 150, "part": 1.5, "paid": True, "list": "[1]"},
        {"order": "007", "total": None, "part": None, "paid": None, "list": None},
    ]
    assert file["name"] == "orders.xlsx"


@pytest.mark.parametrize("cell", [*HOSTILE, "#REF!", "{=A1}", "x\0\x01y", "\ud800"])
def test_cells_of_a_workbook_are_data(ctx, cell):
    _, body = made(ctx, "make_xlsx", [[cell]])

    found = openpyxl.load_workbook(io.BytesIO(body)).active["A1"]
    assert found.data_type == "s"
    assert found.value.strip() in cell.replace("\0\x01", "").replace("\ud800", "\ufffd")


def test_dates_in_a_workbook_are_text_of_iso_8601(ctx):
    book = openpyxl.Workbook()
    book.active.append(["day", "at"])
    book.active.append([workbooks.datetime(2026, 11, 21), workbooks.datetime(2026, 11, 21, 9, 30)])
    file = stored(ctx, b"".join(workbooks.save(book)))

    assert call(ctx, "read_xlsx", file=file)["rows"] == [{"day": "2026-11-21", "at": "2026-11-21T09:30:00"}]


def test_a_sheet_that_is_not_there_is_told(ctx):
    file, _ = made(ctx, "make_xlsx", ORDERS)

    with pytest.raises(RejectedError, match="no sheet Bills in this workbook; it has Sheet1"):
        call(ctx, "read_xlsx", file=file, sheet="Bills")


def test_a_cell_that_is_too_long_is_refused_not_cut(ctx):
    with pytest.raises(RejectedError, match="row 2 holds a text of more than 32767"):
        made(ctx, "make_xlsx", [["a"], ["x" * 40_000]])


def bomb(**parts):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in parts.items():
            archive.writestr(name, body)
    return held.getvalue()


def many_parts():
    return bomb(**{f"{number}.xml": b"" for number in range(2_100)})


def entity_bomb():
    held = io.BytesIO(b"".join(workbooks.write_rows([["a"]])))
    laughs = (
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">'
        + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
        + ']><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        '<row r="1"><c r="A1" t="inlineStr"><is><t>&j;</t></is></c></row></sheetData></worksheet>'
    )
    out = io.BytesIO()
    with zipfile.ZipFile(held) as old, zipfile.ZipFile(out, "w") as new:
        for part in old.infolist():
            new.writestr(part, laughs if "sheet1" in part.filename else old.read(part))
    return out.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"PK\x03\x04 nonsense",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"old .xls" * 100,
        bomb(**{"xl/workbook.xml": b"<"}),
        bomb(**{"../../x": b"x"}),
        bomb(**{"a.xml": b"0" * (201 * 1024 * 1024)}),
        many_parts(),
        entity_bomb(),
    ],
    ids=["empty", "cut", "xls", "hollow", "path", "large", "many", "entities"],
)
def test_what_is_no_workbook_or_a_bomb_is_refused(ctx, raw):
    with pytest.raises(RejectedError, match=r"not an \.xlsx workbook|would unpack to more"):
        call(ctx, "read_xlsx", file=stored(ctx, raw, "x.xlsx"))


# texts and pages


@pytest.mark.parametrize(
    ("name", "kept", "media_type"),
    [
        ("letter", "letter.txt", "text/plain"),
        ("letter.html", "letter.html", "text/html"),
        ("x.svg", "x.svg", "text/plain"),
    ],
)
def test_a_text_becomes_a_file(ctx, name, kept, media_type):
    file = call(ctx, "make_text", name=name, text="Dear Zoë\ud800")["file"]

    assert (file["name"], file["type"]) == (kept, media_type)
    assert call(ctx, "read_text", file=file) == {"text": "Dear Zoë?", "characters": 9}


def test_a_text_becomes_pages(ctx):
    text = (
        "# Bill A-1001\n\nDear Zoë, Привет, 中文\n\n- two\n- three\n---\n## More\n"
        + "word " * 3_000
        + "x" * 500
    )

    file = call(ctx, "make_pdf", name="bill", text=text, paper="Letter")["file"]

    body = ctx.files.content(file)
    assert (file["name"], file["type"]) == ("bill.pdf", "application/pdf")
    assert body.startswith(b"%PDF-1.")
    assert body.count(b"/Type /Page\n") > 3


def test_control_characters_do_not_stop_a_page(ctx):
    file = call(ctx, "make_pdf", name="a/b", text="a\0b\x1b[31m\ud800\u202e(\\)%\n\t- x\n# \n")["file"]

    assert ctx.files.content(file).startswith(b"%PDF-")


# what is given


@pytest.mark.parametrize("rows", ["{{ event.rows }}", "nonsense", 5, [1, 2], {"rows": [[1]]}.values(), None])
def test_what_has_no_rows_is_refused(rows):
    with pytest.raises(ValidationError) as error:
        ACTIONS["make_csv"].params.model_validate({"rows": rows, "name": "x"})

    assert "rows" in sentences(error.value)


def test_rows_are_taken_as_json_text_and_one_object_as_one_row(ctx):
    assert made(ctx, "make_csv", '[{"a": 1}]')[1] == made(ctx, "make_csv", {"a": 1})[1] == b"a\r\n1\r\n"


@pytest.mark.parametrize("name", ["read_csv", "read_json", "read_xlsx", "read_text"])
def test_a_file_that_is_gone_is_told(ctx, name):
    with pytest.raises(RejectedError, match="not kept any more"):
        call(ctx, name, file="fil_" + "0" * 26)
