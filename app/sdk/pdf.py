"""Text with headings and lists as a PDF, in a font that has the letters of Europe, Greek, Cyrillic and more."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from app.sdk.errors import RejectedError
from app.sdk.lazily import lazily

fpdf = lazily("fpdf")

Paper: TypeAlias = Literal["A4", "Letter"]

MAX_CHARS: Final = 100_000
_FONTS: Final = Path(__file__).parents[2] / "static" / "vendor" / "dejavu"
_MARGIN_MM: Final = 20.0
_HEADINGS: Final = {"# ": 20.0, "## ": 15.0, "### ": 12.0}
_TEXT_PT: Final = 10.5
_BULLETS: Final = ("- ", "* ", "• ")


def write(title: str, text: str, *, at: datetime, paper: Paper = "A4") -> Iterator[bytes]:
    """A4 or Letter, with page numbers.

    A line that begins with `# `, `## ` or `### ` is a heading, with `- ` a point of a list; `---` is a rule.
    """
    if len(text) > MAX_CHARS:
        raise RejectedError(f"the text has more than {MAX_CHARS} characters, the most for one pdf")
    page = _Page(title, at=at, paper=paper)
    for line in _sound(text).splitlines():
        page.add_line(line.rstrip())
        # Laying out is work without waiting: others get their turn.
        time.sleep(0)
    yield bytes(page.document.output())


class _Page:
    def __init__(self, title: str, *, at: datetime, paper: Paper) -> None:
        self.document: Any = _numbered(fpdf.FPDF)(format=paper)
        self.document.set_margin(_MARGIN_MM)
        self.document.set_auto_page_break(auto=True, margin=_MARGIN_MM)
        self.document.add_font("DejaVu", "", _FONTS / "DejaVuSans.ttf")
        self.document.add_font("DejaVu", "B", _FONTS / "DejaVuSans-Bold.ttf")
        self.document.set_title(_sound(title))
        self.document.set_creation_date(at)
        self.document.add_page()

    def add_line(self, line: str) -> None:
        heading = next((mark for mark in _HEADINGS if line.startswith(mark)), "")
        if heading:
            self._heading(line.removeprefix(heading), _HEADINGS[heading])
        elif line.startswith(_BULLETS):
            self._bullet(line[2:])
        elif line == "---":
            self._rule()
        elif line:
            self._paragraph(line)
        else:
            self.document.ln(2.5)

    def _heading(self, text: str, points: float) -> None:
        if self.document.get_y() > _MARGIN_MM:
            self.document.ln(points / 6)
        self._write(text, points, bold=True)
        self.document.ln(points / 10)

    def _bullet(self, text: str) -> None:
        self.document.set_font("DejaVu", "", _TEXT_PT)
        self.document.cell(5, _height(_TEXT_PT), "•")
        self._paragraph(text)

    def _rule(self) -> None:
        y = self.document.get_y() + 2
        self.document.line(_MARGIN_MM, y, self.document.w - _MARGIN_MM, y)
        self.document.ln(4)

    def _paragraph(self, text: str) -> None:
        self._write(text, _TEXT_PT)

    def _write(self, text: str, points: float, *, bold: bool = False) -> None:
        self.document.set_font("DejaVu", "B" if bold else "", points)
        self.document.multi_cell(0, _height(points), text, align="L", new_x="LMARGIN", new_y="NEXT")


def _numbered(base: Any) -> Any:
    """The library asks a subclass for the foot of each page; the library itself is imported when first used."""

    def footer(self: Any) -> None:
        self.set_y(-15)
        self.set_font("DejaVu", "", 8)
        self.cell(0, 8, f"{self.page_no()}", align="R")

    return type("Numbered", (base,), {"footer": footer})


def _height(points: float) -> float:
    """In millimetres, with air between lines."""
    return points * 0.3528 * 1.4


def _sound(text: str) -> str:
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\t", "    ")
    return "".join(char for char in whole if char.isprintable() or char == "\n")
