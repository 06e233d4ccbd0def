"""The fields that steps with rows of a sheet have in common, whoever keeps the sheet."""

from collections.abc import Callable, Mapping
from typing import Any

from app.sdk import cells
from app.sdk.cells import AreaText, CellList, RowList
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.polling import EVERY_MINUTES, first_setting


class OneRow(Settings):
    """A row."""

    row: dict[str, Any] = setting(
        "Row",
        {},
        help="by the names in the first row",
        example={"Order": "{{ event.order }}"},
        widget="pairs",
    )
    cells: CellList = setting("Cells", [], help="instead, for a sheet without names: from the left")

    def placed(self, names: Callable[[], list[str]], *, sheet: str) -> list[Any]:
        """The cells from the left; the names of the columns are asked for only where they are needed."""
        if not self.cells and not self.row:
            raise RejectedError("the row is empty; give at least one value")
        return self.cells or cells.spread_out(names(), self.row, sheet=sheet)


class Rows(Settings):
    """Rows."""

    rows: RowList = setting(
        "Rows",
        help="objects by the names in the first row, or lists",
        min_length=1,
        max_length=5000,
        example="{{ steps.read.rows }}",
    )

    def placed(self, names: Callable[[], list[str]], *, sheet: str) -> list[list[Any]]:
        """Each row's cells from the left."""
        known = names() if any(isinstance(row, Mapping) for row in self.rows) else []
        return [
            cells.spread_out(known, row, sheet=sheet) if isinstance(row, Mapping) else row
            for row in self.rows
        ]


class Values(Settings):
    """Cells and what to write into them."""

    range: AreaText = setting("Cells", help="such as B5, or B5:C6", example="B5", min_length=1)
    values: Any = setting(
        "Values", help="one value, or a list of rows", example="{{ event.total }}", widget="textarea"
    )


class Watch(Settings):
    """How to look for rows."""

    filled: Text = setting(
        "Only once filled",
        "",
        help="a column; a row does not count before it has a value there: for rows that are typed bit by bit",
        place=True,
    )
    every_minutes: int = EVERY_MINUTES
    first: int = first_setting("rows that are there already")
