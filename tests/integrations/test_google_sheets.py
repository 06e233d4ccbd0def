import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from http.server import ThreadingHTTPServer

import pytest
from pydantic import SecretStr, ValidationError

from app.integrations.google_sheets import (
    Account,
    Cells,
    Emptied,
    NewRow,
    NewRows,
    NewSheet,
    Numbered,
    Search,
    SearchOrNew,
    WatchedSheet,
    append_row,
    append_rows,
    changed_row,
    check,
    clear,
    create_sheet,
    find_or_create_row,
    find_row,
    new_row,
    update_cells,
    update_row,
)
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests.integrations.conftest import NOW
from tests.providers import google as provider
from tests.providers.google_sheets import BOOK, FOREIGN, SCOPE, Formula, SheetsApi
from tests.providers.http import Says

NAMES = ["Order", "Total", "Paid"]
# shared/HOSTILE.md: what a spreadsheet would run
HOSTILE = ['=IMPORTXML("https://evil.example","//a")', "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1", "=1+1"]


@pytest.fixture
def api():
    return SheetsApi(Orders=[NAMES, ["A-1001", 150, True], ["A-1002", 90]], Other=[["x"]])


@pytest.fixture
def google(api, monkeypatch):
    # Twenty callers at once are more than the five that may knock by default; the others would be reset.
    monkeypatch.setattr(ThreadingHTTPServer, "request_queue_size", 128)
    with provider.google_server(api) as server:
        yield server


@pytest.fixture
def sheets_ctx(ctx, google):
    return replace(ctx, base_url=google.url)


@pytest.fixture
def connection(google):
    return account(google, SCOPE)


def account(google, *scopes):
    access, refresh = google.sign_in(*scopes)
    return Account(
        client_id=provider.CLIENT_ID,
        client_secret=provider.CLIENT_SECRET,
        access_token=access,
        refresh_token=refresh,
        expires_at=NOW + timedelta(hours=1),
        granted=list(scopes),
    )


def at(model, **more):
    return model(**{"spreadsheet": BOOK, "sheet": "Orders"} | more)


# append


def test_a_row_is_appended_by_its_names_and_can_be_read_back(sheets_ctx, connection, api):
    row = {"Total": 75, "order": "A-1003"}

    output = append_row(sheets_ctx, connection, at(NewRow, row=row))
    found = find_row(sheets_ctx, connection, at(Search, column="Order", value="a-1003"))

    assert output == {"appended": True, "number": 4, "range": "A4:C4"}
    assert api.rows("Orders")[3] == ["A-1003", 75, ""]
    assert found == {"found": True, "number": 4, "row": {"Order": "A-1003", "Total": 75, "Paid": ""}}


def test_it_is_gspread_that_calls_and_two_calls_are_enough(sheets_ctx, connection, google):
    append_row(sheets_ctx, connection, at(NewRow, row={"Order": "A-1003"}))

    assert [call.method for call in google.calls] == [
        "sheets.spreadsheets.values.get",
        "sheets.spreadsheets.values.append",
    ]
    assert "python-requests" in google.received[-1].headers["user-agent"]


def test_a_row_can_be_a_list_and_the_first_sheet_needs_no_name(sheets_ctx, connection, api):
    params = NewRow(
        spreadsheet=f"https://docs.google.com/spreadsheets/d/{BOOK}/edit#gid=0", cells=["A-1003", 1]
    )

    append_row(sheets_ctx, connection, params)

    assert api.rows("Orders")[-1] == ["A-1003", 1]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_spreadsheet_would_run_is_text_unless_formulas_are_asked_for(
    sheets_ctx, connection, api, text
):
    append_row(sheets_ctx, connection, at(NewRow, row={"Order": text}))
    append_rows(sheets_ctx, connection, at(NewRows, rows=[{"Order": text}]))
    update_row(sheets_ctx, connection, at(Numbered, number=2, row={"Order": text}))
    update_cells(sheets_ctx, connection, at(Cells, range="A3", values=text))
    find_or_create_row(
        sheets_ctx, connection, at(SearchOrNew, column="Order", value="new", row={"Total": text})
    )

    written = [row[0] for row in api.rows("Orders")[1:5]] + [api.rows("Orders")[5][1]]
    assert written == [text] * 5
    assert not any(isinstance(cell, Formula) for cell in written)


def test_formulas_run_when_they_are_asked_for(sheets_ctx, connection, api):
    append_row(sheets_ctx, connection, at(NewRow, cells=["=1+1"], formulas=True))

    assert isinstance(api.rows("Orders")[-1][0], Formula)


def test_several_rows_are_appended_in_one_step(sheets_ctx, connection, api, google):
    rows = [{"Order": "A-1003"}, ["A-1004", 2], {"Paid": False}]

    output = append_rows(sheets_ctx, connection, at(NewRows, rows=rows))

    assert output == {"appended": 3, "number": 4, "range": "A4:C6"}
    assert api.rows("Orders")[3:] == [["A-1003", "", ""], ["A-1004", 2], ["", "", False]]
    assert len(google.calls) == 2


def test_rows_of_an_earlier_step_arrive_as_one_list_in_a_list():
    assert at(NewRows, rows=[[{"a": 1}, {"a": 2}]]).rows == [{"a": 1}, {"a": 2}]
    assert at(NewRows, rows=[["a", "b"]]).rows == [["a", "b"]]


def test_lists_objects_and_long_numbers_become_text(sheets_ctx, connection, api):
    cells = [["a", 1], {"b": None}, 12345678901234567890, None, 1.5, "\ud83d"]

    append_row(sheets_ctx, connection, at(NewRow, cells=cells))

    assert api.rows("Orders")[-1] == ['["a",1]', '{"b":null}', "12345678901234567890", "", 1.5, "�"]


def test_a_column_that_is_not_there_is_named(sheets_ctx, connection, google):
    with pytest.raises(RejectedError, match="the sheet Orders has no column Totl; it has Order, Total, Paid"):
        append_row(sheets_ctx, connection, at(NewRow, row={"Totl": 1}))

    assert [call.method.rpartition(".")[2] for call in google.calls] == ["get"]


def test_a_sheet_without_names_says_what_to_do(sheets_ctx, connection, api):
    api.rows("Other").clear()

    with pytest.raises(RejectedError, match="no names in its first row; write them there"):
        append_row(sheets_ctx, connection, at(NewRow, sheet="Other", row={"Order": 1}))


def test_what_is_too_large_is_refused_before_it_is_sent(sheets_ctx, connection, google):
    with pytest.raises(RejectedError, match="row 1 of the new ones holds a text of more than 50000"):
        append_row(sheets_ctx, connection, at(NewRow, cells=["x" * 50_001]))
    with pytest.raises(RejectedError, match="4 million characters"):
        append_rows(sheets_ctx, connection, at(NewRows, rows=[["x" * 50_000]] * 81))

    assert google.calls == []


# a key column


def test_a_row_with_a_key_is_appended_once(sheets_ctx, connection, api):
    params = at(NewRow, row={"Order": "A-1003"}, key_column="order")

    first = append_row(sheets_ctx, connection, params)
    again = append_row(sheets_ctx, connection, params)

    assert (first["appended"], again["appended"]) == (True, False)
    assert first["number"] == again["number"] == 4
    assert len(api.rows("Orders")) == 4


def test_a_row_without_its_key_is_refused(sheets_ctx, connection):
    with pytest.raises(RejectedError, match="no value for the column Order"):
        append_row(sheets_ctx, connection, at(NewRow, row={"Total": 1}, key_column="Order"))


def test_an_append_whose_answer_is_lost_may_have_happened(sheets_ctx, connection, api):
    api.lose = 1

    with pytest.raises(TemporaryError) as failure:
        append_row(sheets_ctx, connection, at(NewRow, cells=["A-1003"]))

    assert failure.value.sent is True
    assert len(api.rows("Orders")) == 4


def test_before_an_append_nothing_has_happened(sheets_ctx, connection, google):
    google.fail(Says(hang_up=True), Says(hang_up=True))

    with pytest.raises(TemporaryError) as failure:
        append_row(sheets_ctx, connection, at(NewRow, row={"Order": "A-1003"}))

    assert failure.value.sent is False


# change, find, clear, add


def test_a_changed_row_keeps_what_is_not_named(sheets_ctx, connection, api):
    output = update_row(sheets_ctx, connection, at(Numbered, number=2, row={"Total": 0}))

    assert output == {"number": 2, "range": "A2:C2"}
    assert api.rows("Orders")[1] == ["A-1001", 0, True]


def test_a_row_beyond_the_sheet_is_refused(sheets_ctx, connection):
    with pytest.raises(RejectedError, match="exceeds grid limits"):
        update_row(sheets_ctx, connection, at(Numbered, number=1001, cells=[1]))


@pytest.mark.parametrize(
    ("area", "given", "expected"),
    [
        ("b2", 7, [["A-1001", 7, True], ["A-1002", 90]]),
        ("B2:C2", [7, 8], [["A-1001", 7, 8], ["A-1002", 90]]),
        ("B2:B3", [7, 8], [["A-1001", 7, True], ["A-1002", 8]]),
        ("A2:B3", [[1, 2], [3, 4]], [[1, 2, True], [3, 4]]),
    ],
)
def test_cells_are_changed(sheets_ctx, connection, api, area, given, expected):
    update_cells(sheets_ctx, connection, at(Cells, range=area, values=given))

    assert api.rows("Orders")[1:] == expected


def test_values_that_do_not_fit_the_cells_are_refused(sheets_ctx, connection, google):
    with pytest.raises(RejectedError, match="B2:C3 has 2 rows of 2 cells"):
        update_cells(sheets_ctx, connection, at(Cells, range="B2:C3", values=[[1, 2]]))

    assert google.calls == []


@pytest.mark.parametrize("area", ["B", "5", "B0", "B5:C", "ABCD5", "Orders!B5", "=B5"])
def test_what_is_no_cell_is_refused_beside_its_field(area):
    with pytest.raises(ValidationError, match="must be a cell such as B5"):
        at(Cells, range=area, values=1)


@pytest.mark.parametrize("value", [150, "150", 150.0, " 150 "])
def test_a_number_is_found_however_it_is_written(sheets_ctx, connection, value):
    assert find_row(sheets_ctx, connection, at(Search, column="Total", value=value))["number"] == 2


def test_what_is_not_found_is_no_failure(sheets_ctx, connection):
    found = find_row(sheets_ctx, connection, at(Search, column="Order", value="A-9"))

    assert found == {"found": False, "number": None, "row": {}}


def test_a_row_is_found_or_appended_once(sheets_ctx, connection, api):
    params = at(SearchOrNew, column="Order", value="A-1003", row={"Total": 5})

    first = find_or_create_row(sheets_ctx, connection, params)
    again = find_or_create_row(sheets_ctx, connection, params)

    assert (first["found"], first["number"], first["row"]["Total"]) == (False, 4, 5)
    assert (again["found"], again["number"]) == (True, 4)
    assert len(api.rows("Orders")) == 4


def test_runs_that_look_for_the_same_value_at_once_append_one_row(sheets_ctx, connection, api):
    params = at(SearchOrNew, column="Order", value="A-1003")

    with ThreadPoolExecutor(8) as runs:
        found = list(runs.map(lambda _: find_or_create_row(sheets_ctx, connection, params), range(16)))

    assert [one["number"] for one in found] == [4] * 16
    assert sum(not one["found"] for one in found) == 1
    assert len(api.rows("Orders")) == 4


def test_nothing_cannot_be_looked_for_and_appended(sheets_ctx, connection):
    with pytest.raises(RejectedError, match="no value for the column Order"):
        find_or_create_row(sheets_ctx, connection, at(SearchOrNew, column="Order", value=None))


def test_cells_are_emptied_and_names_stay(sheets_ctx, connection, api):
    assert clear(sheets_ctx, connection, at(Emptied, range="B2")) == {"range": "B2"}
    assert api.rows("Orders")[1] == ["A-1001", "", True]

    assert clear(sheets_ctx, connection, at(Emptied)) == {"range": "A2:C3"}
    assert clear(sheets_ctx, connection, at(Emptied)) == {"range": ""}
    assert api.rows("Orders")[0] == NAMES
    assert not any(cell for row in api.rows("Orders")[1:] for cell in row)


def test_a_sheet_is_added_with_its_names_once(sheets_ctx, connection, api):
    params = at(NewSheet, sheet="Bob's", columns=["Order", "=1+1"])

    first = create_sheet(sheets_ctx, connection, params)
    again = create_sheet(sheets_ctx, connection, params)
    append_row(sheets_ctx, connection, at(NewRow, sheet="Bob's", row={"Order": 1}))

    assert (first, again["created"]) == ({"created": True, "sheet": "Bob's"}, False)
    assert api.rows("Bob's") == [["Order", "=1+1"], [1, ""]]


# 20 runs at once


def test_500_rows_by_20_runs_at_once_are_500_rows_within_the_quota(sheets_ctx, connection, api):
    # Far below what twenty at once would do, on any machine.
    api.quota(reads=300, writes=15, window_s=0.25)
    refused = []

    def run(number):
        for count in range(25):
            appended_at_last(number, count)

    def appended_at_last(number, count):
        while True:
            try:
                return append_row(
                    sheets_ctx, connection, at(NewRow, row={"Order": f"{number}-{count}", "Total": count})
                )
            except TemporaryError as error:
                # As the engine does: only what surely was not done is done again.
                assert error.sent is False
                assert 0 < error.after <= 0.25
                refused.append(error)
                time.sleep(error.after)

    with ThreadPoolExecutor(20) as runs:
        list(runs.map(run, range(20)))

    written = [tuple(row) for row in api.rows("Orders")[3:]]
    assert len(written) == len(set(written)) == 500
    assert refused
    assert all(
        later - first > 0.15 for first, later in zip(api.written_at, api.written_at[15:], strict=False)
    )


def test_with_a_key_column_lost_answers_double_nothing(sheets_ctx, connection, api):
    lock = threading.Lock()

    def run(number):
        while True:
            with lock:
                api.lose += number % 3 == 0
            try:
                return append_row(
                    sheets_ctx, connection, at(NewRow, row={"Order": f"B-{number}"}, key_column="Order")
                )
            except TemporaryError:
                continue

    with ThreadPoolExecutor(8) as runs:
        list(runs.map(run, range(1, 25)))

    written = [row[0] for row in api.rows("Orders")[3:]]
    assert sorted(written) == sorted({f"B-{number}" for number in range(1, 25)})


# what goes wrong


def test_a_sheet_that_was_renamed_is_named_with_those_that_are_there(sheets_ctx, connection):
    words = r"has no sheet Bills; was it renamed\? it has Orders, Other"

    with pytest.raises(RejectedError, match=words):
        append_row(sheets_ctx, connection, at(NewRow, sheet="Bills", cells=[1]))
    with pytest.raises(RejectedError, match=words):
        new_row(sheets_ctx, connection, at(WatchedSheet, sheet="Bills"), None, [])


def test_a_spreadsheet_that_is_gone_or_not_shared_is_named(sheets_ctx, connection):
    gone = "1Gone" * 8

    with pytest.raises(RejectedError, match=f"google has no spreadsheet {gone}"):
        append_row(sheets_ctx, connection, at(NewRow, spreadsheet=gone, cells=[1]))
    with pytest.raises(RejectedError, match=f"does not let this account use the spreadsheet {FOREIGN}"):
        append_row(sheets_ctx, connection, at(NewRow, spreadsheet=FOREIGN, cells=[1]))


def test_a_service_account_says_with_whom_to_share(sheets_ctx, google):
    robot = Account(method="service_account", service_account_key=provider.service_account_key())

    assert provider.ROBOT in check(sheets_ctx, robot)
    with pytest.raises(RejectedError, match=f"share it with {provider.ROBOT}"):
        append_row(sheets_ctx, robot, at(NewRow, spreadsheet=FOREIGN, cells=[1]))


@pytest.mark.parametrize("text", ["", "Orders", "https://evil.example/spreadsheets", "../../drive/v3/files"])
def test_what_is_no_spreadsheet_is_refused_beside_its_field(text):
    with pytest.raises(ValidationError, match="must be the address of a spreadsheet"):
        at(NewRow, spreadsheet=text)


def test_a_quota_waits_as_long_as_google_says(sheets_ctx, connection, google):
    google.fail(provider.says_error(429, "RATE_LIMIT_EXCEEDED", "Quota exceeded", **{"Retry-After": "37"}))

    with pytest.raises(TemporaryError) as failure:
        append_row(sheets_ctx, connection, at(NewRow, cells=[1]))

    assert (failure.value.after, failure.value.sent) == (37, False)


def test_google_that_fails_while_appending_may_have_done_it(sheets_ctx, connection, google):
    google.fail(provider.says_error(503, "backendError", "try later"))

    with pytest.raises(TemporaryError) as failure:
        append_row(sheets_ctx, connection, at(NewRow, cells=[1]))

    assert failure.value.sent is True


def test_a_withdrawn_access_names_the_mend(sheets_ctx, connection, google):
    google.revoke()

    with pytest.raises(AuthError, match="connect it again"):
        append_row(sheets_ctx, connection, at(NewRow, cells=[1]))
    with pytest.raises(AuthError):
        check(sheets_ctx, connection)


def test_a_missing_scope_names_itself(sheets_ctx, google):
    with pytest.raises(AuthError, match="auth/spreadsheets"):
        check(sheets_ctx, account(google, "https://www.googleapis.com/auth/drive.metadata.readonly"))


def test_a_check_writes_nothing(sheets_ctx, connection, google):
    assert check(sheets_ctx, connection) == "google accepts this account"
    assert [call.method for call in google.calls] == ["sheets.spreadsheets.get"]


def test_no_secret_is_in_a_failure(sheets_ctx, connection, google):
    token = connection.access_token.get_secret_value()
    google.fail(provider.says_error(400, "INVALID_ARGUMENT", f"bad Bearer {token}"))

    with pytest.raises(RejectedError) as failure:
        append_row(sheets_ctx, connection, at(NewRow, cells=[1]))

    assert token not in str(failure.value)


# triggers


def looks(trigger, ctx, connection, params, cursor=None):
    """Gives what is found at each further look."""
    state = [cursor]

    def look():
        batch = trigger(ctx, connection, params, state[0], [])
        state[0] = batch.cursor
        return batch.occurrences

    return look


def numbers(occurrences):
    return [one.data["number"] for one in occurrences]


def test_the_first_look_takes_only_what_is_new_from_now(sheets_ctx, connection, api):
    look = looks(new_row, sheets_ctx, connection, at(WatchedSheet))

    assert look() == []
    api.rows("Orders").append(["A-1003", 75, False])

    [found] = look()
    assert found.data == {"number": 4, "row": {"Order": "A-1003", "Total": 75, "Paid": False}}
    assert look() == []


def test_the_first_look_takes_the_last_rows_when_asked(sheets_ctx, connection):
    look = looks(new_row, sheets_ctx, connection, at(WatchedSheet, first=1))

    assert numbers(look()) == [3]
    assert look() == []


def test_a_new_row_is_one_wherever_it_is_put(sheets_ctx, connection, api):
    look = looks(new_row, sheets_ctx, connection, at(WatchedSheet))
    look()

    api.rows("Orders").insert(1, ["A-1000", 1])
    api.rows("Orders").extend([["A-1002", 90], ["", ""], ["A-1004", 2]])

    assert numbers(look()) == [2, 5, 7]


def test_moved_changed_and_deleted_rows_are_not_new(sheets_ctx, connection, api):
    api.rows("Orders").extend([[f"B-{n}", n] for n in range(20)])
    look = looks(new_row, sheets_ctx, connection, at(WatchedSheet))
    look()

    api.rows("Orders")[1:] = reversed(api.rows("Orders")[1:])
    api.rows("Orders")[0].append("Note")
    assert look() == []
    api.rows("Orders")[5] = ["B-changed", 1]
    assert look() == []
    del api.rows("Orders")[3:9]
    assert look() == []


def test_a_row_that_is_typed_bit_by_bit_counts_once_it_is_filled(sheets_ctx, connection, api):
    look = looks(new_row, sheets_ctx, connection, at(WatchedSheet, filled="Total"))
    look()

    api.rows("Orders").append(["A-1003"])
    assert look() == []
    api.rows("Orders")[3].append(75)
    assert numbers(look()) == [4]


def test_the_same_look_gives_the_same_keys_and_a_later_one_others(sheets_ctx, connection, api):
    cursor = new_row(sheets_ctx, connection, at(WatchedSheet), None, []).cursor
    api.rows("Orders").append(["A-1003", 75])

    one, other = (new_row(sheets_ctx, connection, at(WatchedSheet), cursor, []) for _ in range(2))
    assert [found.key for found in one.occurrences] == [found.key for found in other.occurrences]

    gone = api.rows("Orders").pop()
    without = new_row(sheets_ctx, connection, at(WatchedSheet), one.cursor, [])
    api.rows("Orders").append(gone)
    again = new_row(sheets_ctx, connection, at(WatchedSheet), without.cursor, [])
    assert [found.key for found in again.occurrences] != [found.key for found in one.occurrences]


def test_many_new_rows_come_in_several_looks_and_none_is_lost(sheets_ctx, connection, api):
    look = looks(new_row, sheets_ctx, connection, at(WatchedSheet))
    look()
    api.rows("Orders").extend([[f"C-{n}", n] for n in range(450)])

    found = [look() for _ in range(4)]

    assert [len(some) for some in found] == [200, 200, 50, 0]
    assert sorted(n for some in found for n in numbers(some)) == list(range(4, 454))


def test_a_changed_row_is_found_and_a_new_one_is_not(sheets_ctx, connection, api):
    look = looks(changed_row, sheets_ctx, connection, at(WatchedSheet))
    assert look() == []

    api.rows("Orders")[2][1] = 95
    api.rows("Orders").append(["A-1003", 75])
    [found] = look()

    assert found.data == {"number": 3, "row": {"Order": "A-1002", "Total": 95, "Paid": ""}}
    assert look() == []


def test_many_changed_rows_come_in_several_looks(sheets_ctx, connection, api):
    api.rows("Orders").extend([[f"C-{n}", n] for n in range(250)])
    look = looks(changed_row, sheets_ctx, connection, at(WatchedSheet))
    look()
    for row in api.rows("Orders")[3:]:
        row[1] += 0.5

    assert [len(look()) for _ in range(3)] == [200, 50, 0]


# the stand-in refuses what google refuses


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/values/Orders!A1:append?valueInputOption=RAWISH&insertDataOption=INSERT_ROWS", {}),
        ("POST", "/values/Orders!A1:append?insertDataOption=INSERT_ROWS", {"values": [[1]]}),
        ("POST", "/values/Orders!A1:append?valueInputOption=RAW&color=red", {"values": [[1]]}),
        ("POST", "/values/Orders!A1:append?valueInputOption=RAW", {"values": "text"}),
        ("POST", "/values/Orders!A1:append?valueInputOption=RAW", {"vales": [[1]]}),
        ("POST", "/values/Bills!A1:append?valueInputOption=RAW", {"values": [[1]]}),
        ("PUT", "/values/Orders!A1?valueInputOption=RAW", {"values": [[1, 2]]}),
        ("PUT", "/values/Orders!A1?valueInputOption=RAW", {"values": [[{"a": 1}]]}),
        ("POST", ":batchUpdate", {"requests": [{"addSheet": {"properties": {"tilte": "x"}}}]}),
        (
            "POST",
            ":batchUpdate",
            {"requests": [{"addSheet": {"properties": {"title": "Other", "sheetId": 9}}}]},
        ),
    ],
)
def test_the_stand_in_refuses_what_the_discovery_document_or_google_refuses(
    sheets_ctx, connection, google, api, method, path, body
):
    before = [list(map(list, tab.rows)) for tab in api.tabs]
    headers = {"Authorization": f"Bearer {connection.access_token.get_secret_value()}"}

    answer = sheets_ctx.http.request(
        method, f"{google.url}/v4/spreadsheets/{BOOK}{path}", json=body, headers=headers
    )

    assert answer.status == 400
    assert answer.json()["error"]["code"] == 400
    assert [tab.rows for tab in api.tabs] == before


def test_the_stand_in_refuses_a_stranger(sheets_ctx, google):
    stranger = Account(
        client_id="x",
        client_secret="y",
        access_token=SecretStr("guessed"),
        expires_at=NOW + timedelta(hours=1),
    )

    with pytest.raises(AuthError):
        check(sheets_ctx, stranger)
