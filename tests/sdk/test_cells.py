import pytest

from app.sdk import cells
from app.sdk.cells import Area
from app.sdk.errors import RejectedError


@pytest.mark.parametrize(("number", "expected"), [(1, "A"), (26, "Z"), (27, "AA"), (702, "ZZ"), (703, "AAA")])
def test_columns_have_letters(number, expected):
    assert cells.letters(number) == expected
    assert cells.column(expected.lower()) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [("b5", "B5"), ("$B$5:D9", "B5:D9"), ("D9:B5", "B5:D9"), (" A1:A1 ", "A1"), ("d5:b9", "B5:D9")],
)
def test_an_area_is_read_in_any_direction(text, expected):
    assert str(cells.parse_area(text)) == expected


def test_a_row_goes_under_its_names_whatever_their_case():
    assert cells.spread_out(["Order", "Total"], {" total ": 1}, sheet="it") == [None, 1]


def test_a_row_that_is_longer_than_its_names_loses_nothing():
    assert cells.as_object(["a"], [1, 2]) == {"a": 1, "column_2": 2}
    assert cells.as_object(["a", "b"], [1]) == {"a": 1, "b": ""}


def test_values_have_to_fit_their_area():
    assert cells.rectangle(Area(1, 1, 1, 1), "x") == [["x"]]
    assert cells.rectangle(Area(1, 1, 2, 1), [1, 2]) == [[1], [2]]
    with pytest.raises(RejectedError, match="A1:B1 has 1 rows of 2 cells"):
        cells.rectangle(Area(1, 1, 1, 2), "x")


@pytest.mark.parametrize(
    ("cell", "value", "expected"),
    [(150, "150.0", True), ("Ada ", "ada", True), (None, "", True), (1, True, False), ("+49", 49, False)],
)
def test_values_are_compared_as_people_do(cell, value, expected):
    assert cells.is_same(cell, value) is expected
