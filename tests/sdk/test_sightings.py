from hypothesis import given
from hypothesis import strategies as st

from app.sdk.cells import Line
from app.sdk.sheet_fields import Watch
from app.sdk.sightings import compare, look

NAMES = Line(1, ["name"])
marks = st.lists(st.sampled_from("abcdef"), max_size=12)


@given(marks)
def test_what_stays_is_neither_new_nor_changed(rows):
    compared = compare(rows, rows)

    assert (compared.new, compared.changed) == ([], [])


@given(marks, st.lists(st.sampled_from("xyz"), max_size=5))
def test_whatever_is_appended_is_new(rows, more):
    compared = compare(rows, rows + more)

    assert compared.new == list(range(len(rows), len(rows) + len(more)))
    assert compared.changed == []


@given(marks, st.data())
def test_rows_in_another_order_are_nothing_new(rows, data):
    compared = compare(rows, data.draw(st.permutations(rows)))

    assert (compared.new, compared.changed) == ([], [])


@given(marks.filter(bool), st.data())
def test_one_row_that_is_edited_is_changed(rows, data):
    at = data.draw(st.integers(0, len(rows) - 1))
    edited = [*rows[:at], "x", *rows[at + 1 :]]

    compared = compare(rows, edited)

    # Of rows that are alike the last one counts as the edited one, which stands elsewhere.
    assert len(compared.new) + len(compared.changed) == 1
    assert [*compared.new, *(place for place, _ in compared.changed)] == [at]
    if rows.count(rows[at]) == 1:
        assert compared.changed == [(at, rows[at])]


@given(marks, st.data())
def test_rows_that_are_deleted_are_nothing_new(rows, data):
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))

    compared = compare(rows, [row for row, kept in zip(rows, keep, strict=True) if kept])

    assert (compared.new, compared.changed) == ([], [])


@given(st.lists(st.lists(st.text("abc", min_size=1, max_size=2), max_size=6), max_size=6))
def test_every_row_that_is_ever_added_is_found_once(additions):
    rows, cursor, found = [NAMES], None, []
    for added in [[], *additions]:
        rows = [*rows, *(Line(len(rows) + n, [text]) for n, text in enumerate(added, start=1))]
        batch = look("new", rows, Watch(), cursor, sheet="the sheet")
        cursor = batch.cursor
        found += batch.occurrences

    assert [one.data["row"]["name"] for one in found] == [text for added in additions for text in added]
    assert len({one.key for one in found}) == len(found)
