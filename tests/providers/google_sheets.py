"""Google Sheets: spreadsheets in memory, as far as the Sheets API lets them be read and written.

Appending is one step, whoever else appends; `quota(...)` counts reads and writes as Google does, in a window of time.
"""

import re
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.providers.discovery import Call
from tests.providers.google import Api, not_found, says_error
from tests.providers.http import Says

SCOPE = "https://www.googleapis.com/auth/spreadsheets"
BOOK = "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms"
# Of somebody who did not share it.
FOREIGN = "1ForeignForeignForeignForeignForeignForeign1"

_RANGE = re.compile(r"(?:(?P<title>'(?:[^']|'')+'|[^'!]+)!)?(?:(?P<cells>[A-Z]*\d*(?::[A-Z]*\d*)?))")
_CELL = re.compile(r"([A-Z]*)(\d*)")
_MAX_CELL_CHARS = 50_000


class Formula(str):
    """What a cell holds that is run."""

    __slots__ = ()


@dataclass
class Tab:
    number: int
    title: str
    rows: list[list[Any]] = field(default_factory=list)
    columns: int = 26
    height: int = 1000


class _Refused(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SheetsApi(Api):
    """One spreadsheet, BOOK, whose tabs a test may read and change at any time."""

    document: ClassVar[str] = "google/sheets.v4.json"

    def __init__(self, **tabs: list[list[Any]]) -> None:
        super().__init__()
        self.tabs = [
            Tab(number, title, [list(row) for row in rows])
            for number, (title, rows) in enumerate(tabs.items())
        ]
        # So many of the next writes are done, and their answers lost.
        self.lose = 0
        self.written_at: list[float] = []
        self._lock = threading.Lock()
        self._limits: dict[str, tuple[int, float, deque[float]]] = {}

    def quota(self, *, reads: int, writes: int, window_s: float) -> None:
        self._limits = {"Read": (reads, window_s, deque()), "Write": (writes, window_s, deque())}

    def rows(self, title: str) -> list[list[Any]]:
        return next(tab.rows for tab in self.tabs if tab.title == title)

    def answer(self, call: Call) -> Any:
        writes = call.method.rpartition(".")[2] in {"append", "update", "clear", "batchUpdate"}
        with self._lock:
            if (after := self._wait("Write" if writes else "Read")) is not None:
                return _exhausted("Write" if writes else "Read", after)
            if call.params["spreadsheetId"] == FOREIGN:
                return says_error(403, "PERMISSION_DENIED", "The caller does not have permission")
            if call.params["spreadsheetId"] != BOOK:
                return not_found()
            try:
                said = super().answer(call)
            except _Refused as refused:
                return says_error(400, "INVALID_ARGUMENT", refused.message)
            if writes and not isinstance(said, Says):
                self.written_at.append(time.monotonic())
                if self.lose > 0:
                    self.lose -= 1
                    return Says(hang_up=True)
            return said

    def _wait(self, kind: str) -> float | None:
        """Seconds until there is room again; None where there is, and this call takes it."""
        if kind not in self._limits:
            return None
        most, window_s, taken = self._limits[kind]
        now = time.monotonic()
        while taken and taken[0] <= now - window_s:
            taken.popleft()
        if len(taken) >= most:
            return taken[0] + window_s - now
        taken.append(now)
        return None

    # spreadsheets

    def spreadsheets_get(self, call: Call) -> Any:
        sheets = [{"properties": {"sheetId": tab.number, "title": tab.title}} for tab in self.tabs]
        return {"spreadsheetId": BOOK, "properties": {"title": "Shop"}, "sheets": sheets}

    def spreadsheets_batchUpdate(self, call: Call) -> Any:  # noqa: N802
        before = [Tab(tab.number, tab.title, [list(row) for row in tab.rows]) for tab in self.tabs]
        try:
            return {"spreadsheetId": BOOK, "replies": [self._step(step) for step in call.body["requests"]]}
        except _Refused:
            self.tabs = before
            raise

    def _step(self, step: dict[str, Any]) -> dict[str, Any]:
        [(kind, request)] = step.items()
        if kind == "addSheet":
            properties = request["properties"]
            if any(tab.title.lower() == properties["title"].lower() for tab in self.tabs):
                raise _Refused(
                    f'Invalid requests[0].addSheet: A sheet with the name "{properties["title"]}" already exists. '
                    "Please enter another name."
                )
            if any(tab.number == properties["sheetId"] for tab in self.tabs):
                raise _Refused(f"Invalid requests[0].addSheet: Sheet ID {properties['sheetId']} is in use.")
            self.tabs.append(Tab(properties["sheetId"], properties["title"]))
            return {"addSheet": {"properties": properties}}
        if kind != "updateCells":
            raise _Refused(f"the stand-in does not do {kind}")
        tab = next((tab for tab in self.tabs if tab.number == request["start"]["sheetId"]), None)
        if tab is None:
            raise _Refused("Invalid requests[0].updateCells: No grid with that id")
        rows = [
            [cell["userEnteredValue"]["stringValue"] for cell in row["values"]] for row in request["rows"]
        ]
        _put(tab, request["start"]["rowIndex"], request["start"]["columnIndex"], rows)
        return {}

    # values

    def spreadsheets_values_get(self, call: Call) -> Any:
        tab, top, left, bottom, right = self._area(call)
        rows = [row[left:right] for row in tab.rows[top:bottom]]
        found = [_stripped([_shown(cell) for cell in row]) for row in rows]
        while found and not found[-1]:
            found.pop()
        return {"range": f"{_title(tab)}!A1:Z1000", "majorDimension": "ROWS"} | (
            {"values": found} if found else {}
        )

    def spreadsheets_values_append(self, call: Call) -> Any:
        tab, *_ = self._area(call)
        if call.params.get("insertDataOption") != "INSERT_ROWS":
            raise _Refused("the stand-in keeps no rows from being overwritten; use INSERT_ROWS")
        rows = _values(call)
        end = _height(tab)
        tab.rows[end:] = []
        _put(tab, end, 0, rows)
        tab.height = max(tab.height, len(tab.rows))
        return {"spreadsheetId": BOOK, "updates": _updated(tab, end, 0, rows)}

    def spreadsheets_values_update(self, call: Call) -> Any:
        tab, top, left, bottom, right = self._area(call)
        rows = _values(call)
        if len(rows) > bottom - top or any(len(row) > right - left for row in rows):
            raise _Refused(
                f"Requested writing within range [{call.params['range']}], but tried writing beyond"
            )
        if top + len(rows) > tab.height or left + max(map(len, rows), default=0) > tab.columns:
            raise _Refused(
                f"Range ({tab.title}!{call.params['range']}) exceeds grid limits. "
                f"Max rows: {tab.height}, max columns: {tab.columns}"
            )
        _put(tab, top, left, rows)
        return {"spreadsheetId": BOOK, **_updated(tab, top, left, rows)}

    def spreadsheets_values_clear(self, call: Call) -> Any:
        tab, top, left, bottom, right = self._area(call)
        for row in tab.rows[top:bottom]:
            row[left:right] = [""] * len(row[left:right])
        return {
            "spreadsheetId": BOOK,
            "clearedRange": f"{_title(tab)}!{_a1(top, left, bottom - top, right - left)}",
        }

    def _area(self, call: Call) -> tuple[Tab, int, int, int, int]:
        """The tab, and the cells from 0, ends not included."""
        text = call.params["range"]
        titled = next(
            (tab for tab in self.tabs if text.lower() == f"'{tab.title}'".lower().replace("''", "'")), None
        )
        if titled:
            return titled, 0, 0, titled.height, titled.columns
        found = _RANGE.fullmatch(text)
        tab = self._tab(found["title"]) if found else None
        if found is None or tab is None or not found["cells"]:
            raise _Refused(f"Unable to parse range: {text}")
        first, _, last = found["cells"].partition(":")
        (left, top), (right, bottom) = _point(first), _point(last or first)
        ends = (bottom or tab.height, right or tab.columns)
        return tab, (top or 1) - 1, (left or 1) - 1, *ends

    def _tab(self, title: str | None) -> Tab | None:
        if title is None:
            return self.tabs[0]
        plain = title[1:-1].replace("''", "'") if title.startswith("'") else title
        return next((tab for tab in self.tabs if tab.title.lower() == plain.lower()), None)


def _exhausted(kind: str, after_s: float) -> Says:
    message = (
        f"Quota exceeded for quota metric '{kind} requests' and limit '{kind} requests per minute per user' of "
        "service 'sheets.googleapis.com' for consumer 'project_number:1'."
    )
    return says_error(429, "RATE_LIMIT_EXCEEDED", message, **{"Retry-After": f"{max(after_s, 0.01):.2f}"})


def _values(call: Call) -> list[list[Any]]:
    option = call.params.get("valueInputOption")
    if option not in {"RAW", "USER_ENTERED"}:
        raise _Refused("'valueInputOption' is required but not specified")
    return [[_entered(cell, option) for cell in row] for row in call.body.get("values", ())]


def _entered(cell: Any, option: str) -> Any:
    if isinstance(cell, list | dict):
        raise _Refused("Invalid values[0][0]: list_value {}")
    if isinstance(cell, str) and len(cell) > _MAX_CELL_CHARS:
        raise _Refused("Your input contains more than the maximum of 50000 characters in a single cell.")
    runs = option == "USER_ENTERED" and isinstance(cell, str) and cell.startswith(("=", "+", "-"))
    return Formula(cell) if runs else cell


def _put(tab: Tab, top: int, left: int, rows: list[list[Any]]) -> None:
    for at, row in enumerate(rows, start=top):
        tab.rows.extend([] for _ in range(at + 1 - len(tab.rows)))
        line = tab.rows[at]
        line.extend([""] * (left + len(row) - len(line)))
        for place, cell in enumerate(row, start=left):
            # null leaves a cell as it is
            line[place] = line[place] if cell is None else cell


def _updated(tab: Tab, top: int, left: int, rows: list[list[Any]]) -> dict[str, Any]:
    wide = max(map(len, rows), default=0)
    where = f"{_title(tab)}!{_a1(top, left, len(rows), wide)}"
    return {"updatedRange": where, "updatedRows": len(rows), "updatedCells": len(rows) * wide}


def _shown(cell: Any) -> Any:
    return f"#RUN {cell}" if isinstance(cell, Formula) else cell


def _stripped(row: list[Any]) -> list[Any]:
    while row and row[-1] == "":
        row.pop()
    return row


def _height(tab: Tab) -> int:
    return max((at for at, row in enumerate(tab.rows, start=1) if any(cell != "" for cell in row)), default=0)


def _point(text: str) -> tuple[int, int]:
    found = _CELL.fullmatch(text)
    number = 0
    for letter in found[1]:
        number = number * 26 + ord(letter) - 64
    return number, int(found[2] or 0)


def _a1(top: int, left: int, high: int, wide: int) -> str:
    first, last = f"{_letters(left + 1)}{top + 1}", f"{_letters(left + wide)}{top + high}"
    return first if first == last else f"{first}:{last}"


def _letters(number: int) -> str:
    return (_letters((number - 1) // 26) if number > 26 else "") + chr(65 + (number - 1) % 26)


def _title(tab: Tab) -> str:
    return tab.title if tab.title.isalnum() else "'" + tab.title.replace("'", "''") + "'"
