"""One sheet of a Google spreadsheet, through gspread: cells as data, and what is not there is named."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from app.sdk import cells as grid
from app.sdk.cells import Area, Line
from app.sdk.context import Context
from app.sdk.errors import RejectedError
from app.sdk.google import GoogleAccount, GoogleRefusedError, google_errors, gspread_client
from app.sdk.reading import reading
from app.sdk.rows import headers
from app.sdk.turns import turn

# https://support.google.com/drive/answer/37603
MAX_CELL_CHARS: Final = 50_000
# Google advises 2 MB a request.
_MAX_CHARS: Final = 4_000_000
_LINK: Final = re.compile(r"/spreadsheets/(?:u/\d+/)?d/([A-Za-z0-9_-]{10,100})")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{10,100}")
_READ: Final = {"valueRenderOption": "UNFORMATTED_VALUE", "dateTimeRenderOption": "FORMATTED_STRING"}


def book_id(text: str) -> str:
    """Of a spreadsheet's address or of its id; raises ValueError."""
    found = _LINK.search(text)
    if found is None and not _ID.fullmatch(text.strip()):
        raise ValueError("must be the address of a spreadsheet, or the id in it")
    return found[1] if found else text.strip()


@dataclass(frozen=True, slots=True)
class Grid:
    """`http` is gspread's HTTPClient: one request a call, where its Worksheet asks for more. No name: the first."""

    http: Any
    book: str
    sheet: str

    @property
    def title(self) -> str:
        return f"the sheet {self.sheet}" if self.sheet else "the first sheet"

    def names(self) -> list[str]:
        """What the columns are called, from the first row."""
        with reading():
            found = self._read(self._range("1:1"))
        return headers(found[0].cells) if found else []

    def lines(self) -> list[Line]:
        """Every row up to the last one that holds anything; numbers as numbers, formulas as what they give."""
        name = self.sheet or next(iter(self._sheets().values()))
        with reading():
            return self._read(_quoted(name))

    def find(self, name: str, value: Any) -> tuple[list[str], Line | None]:
        """The names of all columns, and the first row that has this value in the one called `name`."""
        lines = self.lines()
        names = headers(lines[0].cells) if lines else []
        place = grid.place_of(names, name, sheet=self.title)
        rows = (line for line in lines[1:] if place < len(line.cells))
        return names, next((line for line in rows if grid.is_same(line.cells[place], value)), None)

    def append(self, rows: Sequence[Sequence[Any]], *, formulas: bool) -> Area:
        """Behind the last row, in one step at Google: parallel ones never meet. Where they are now."""
        # An empty cell at the end would be left out, and with it the place of the table.
        filled = [["" if cell is None else cell for cell in row] for row in rows]
        params = {"valueInputOption": _option(formulas=formulas), "insertDataOption": "INSERT_ROWS"}
        with self._named():
            said = self.http.values_append(
                self.book, self._range("A1"), params, {"values": self._data(filled)}
            )
        return _area(said["updates"]["updatedRange"])

    def find_or_append(
        self, name: str, value: Any, row: Mapping[str, Any], *, formulas: bool = False
    ) -> tuple[list[str], Line, bool]:
        """The names of all columns, the row that has this value, and whether it was appended for want of one."""
        if grid.is_empty(value):
            raise RejectedError(f"there is no value for the column {name}; give one")
        # Google cannot do both in one step; runs of this process, at least, do not come between.
        with turn(f"sheet {self.book} {self.sheet}"):
            names, known = self.find(name, value)
            if known:
                return names, known, False
            cells = grid.spread_out(names, row, sheet=self.title)
            return names, Line(self.append([cells], formulas=formulas).top, cells), True

    def update(self, area: Area, rows: Sequence[Sequence[Any]], *, formulas: bool) -> Area:
        """None leaves a cell as it is."""
        params, body = {"valueInputOption": _option(formulas=formulas)}, {"values": self._data(rows)}
        with self._named():
            said = self.http.values_update(self.book, self._range(str(area)), params, body)
        return _area(said["updatedRange"])

    def clear(self, area: Area) -> Area:
        """The cells that were emptied."""
        with self._named():
            said = self.http.values_clear(self.book, self._range(str(area)))
        return _area(said["clearedRange"])

    def add(self, names: Sequence[str]) -> bool:
        """A new sheet with names in bold, in one step; whether it is new."""
        known = self._sheets()
        if self.sheet.casefold() in {title.casefold() for title in known.values()}:
            return False
        number = 1 + max(known)
        bold = {"textFormat": {"bold": True}}
        cells = [{"userEnteredValue": {"stringValue": name}, "userEnteredFormat": bold} for name in names]
        start = {"sheetId": number, "rowIndex": 0, "columnIndex": 0}
        fields = "userEnteredValue,userEnteredFormat.textFormat.bold"
        added: dict[str, Any] = {"addSheet": {"properties": {"sheetId": number, "title": self.sheet}}}
        named = {"updateCells": {"start": start, "rows": [{"values": cells}], "fields": fields}}
        with google_errors(f"the spreadsheet {self.book}"):
            self.http.batch_update(self.book, {"requests": [added, named] if cells else [added]})
        return True

    def _sheets(self) -> dict[int, str]:
        """Titles by number, in the order of the tabs."""
        with google_errors(f"the spreadsheet {self.book}"), reading():
            found = self.http.spreadsheets_get(self.book, {"fields": "sheets.properties(sheetId,title)"})
        properties = [sheet["properties"] for sheet in found["sheets"]]
        # A zero is left out of Google's answers.
        return {one.get("sheetId", 0): one["title"] for one in properties}

    def _read(self, area: str) -> list[Line]:
        with self._named():
            said = self.http.values_get(self.book, area, dict(_READ))
        return [Line(number, row) for number, row in enumerate(said.get("values", ()), start=1)]

    def _range(self, cells: str) -> str:
        return f"{_quoted(self.sheet)}!{cells}" if self.sheet else cells

    def _data(self, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
        found = [
            [grid.data(cell, most_chars=MAX_CELL_CHARS, where=f"row {at} of the new ones") for cell in row]
            for at, row in enumerate(rows, start=1)
        ]
        if sum(len(cell) for row in found for cell in row if isinstance(cell, str)) > _MAX_CHARS:
            raise RejectedError("these rows hold more than 4 million characters; write fewer at a time")
        return found

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Google says `Unable to parse range` where a sheet is gone or was renamed."""
        try:
            with google_errors(f"the spreadsheet {self.book}"):
                yield
        except RejectedError as error:
            said = error.__cause__
            if not isinstance(said, GoogleRefusedError) or "Unable to parse range" not in str(said):
                raise
            there = ", ".join(list(self._sheets().values())[:20])
            raise RejectedError(
                f"the spreadsheet has no sheet {self.sheet}; was it renamed? it has {there}"
            ) from error


def open_grid(ctx: Context, connection: GoogleAccount, book: str, sheet: str) -> Grid:
    return Grid(gspread_client(ctx, connection).http_client, book, sheet.strip())


def _quoted(title: str) -> str:
    return "'" + title.replace("'", "''") + "'"


def _option(*, formulas: bool) -> str:
    return "USER_ENTERED" if formulas else "RAW"


def _area(said: str) -> Area:
    return grid.parse_area(said.rpartition("!")[2])
