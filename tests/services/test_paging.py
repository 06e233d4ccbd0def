import pytest

from app import ids
from app.services import paging
from app.services.paging import CursorError

ROWS = sorted((ids.new("que") for _ in range(5)), reverse=True)


def same(row: str) -> str:
    return row


def test_pages_of_a_short_list_hold_each_row_once():
    seen, cursor = [], None
    while True:
        page = paging.slice_of(ROWS, cursor, 2, row_id=same)
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == ROWS


def test_a_full_last_page_has_no_next():
    assert paging.slice_of(ROWS, None, 5, row_id=same).next_cursor is None


def test_an_empty_list_is_a_page():
    assert paging.slice_of([], None, 5, row_id=same) == paging.Page([], None)


@pytest.mark.parametrize("cursor", ["", "x", "é", "=" * 50, "AAAA", "' OR 1=1", "\0"])
def test_a_cursor_that_is_not_ours_is_refused(cursor):
    with pytest.raises(CursorError):
        paging.slice_of(ROWS, cursor, 2, row_id=same)
