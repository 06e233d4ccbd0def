"""How values look on pages: times in the reader's zone, lengths of time, sizes, JSON, and names in a text."""

import json
import re
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask
from flask_login import current_user
from markupsafe import Markup, escape

from app import clock

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SUMMARY_LENGTH = 80


def add_filters(app: Flask) -> None:
    for function in (ago, local, exact, duration, pretty_json, summary, sentence, with_names):
        app.add_template_filter(function)
    app.add_template_filter(size, "bytes")


def zone() -> tzinfo:
    """The reader's zone; UTC for somebody who is not logged in."""
    return ZoneInfo(current_user.zone) if current_user and current_user.is_authenticated else UTC


def ago(instant: datetime) -> str:
    """`3 min ago`, `in 2 h`, and from a week on the date."""
    seconds = (clock.now() - instant).total_seconds()
    if abs(seconds) >= 7 * _DAY:
        return f"{instant.astimezone(zone()):%-d %b %Y}"
    if abs(seconds) < 1:
        return "just now"
    # What was set for eight hours from now says so for a while.
    length = _length(abs(seconds) + (30 if seconds < 30 - _HOUR else 0))
    return f"{length} ago" if seconds > 0 else f"in {length}"


def _length(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{int(seconds)} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h"
    days = int(seconds // _DAY)
    return "1 day" if days == 1 else f"{days} days"


def local(instant: datetime) -> str:
    """`Sat 21 Nov 2026, 09:00:12` in the reader's zone."""
    return f"{instant.astimezone(zone()):%a %-d %b %Y, %H:%M:%S}"


def exact(instant: datetime) -> str:
    """The instant to the millisecond, in the reader's zone and its offset, for hovering over."""
    here = instant.astimezone(zone())
    return f"{here:%Y-%m-%d %H:%M:%S}.{here.microsecond // 1000:03d} {here:%Z (%z)}"


def duration(ms: float) -> str:
    """`12 ms`, `3.4 s`, `2 min 5 s`, `1 h 10 min`."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"
    return f"{seconds // _HOUR:.0f} h {seconds % _HOUR // _MINUTE:.0f} min"


def size(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


def pretty_json(value: Any) -> str:
    return _printable(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def summary(value: Any) -> str:
    """One short line of any value."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = _printable(" ".join(text.split()))
    return line if len(line) <= _SUMMARY_LENGTH else line[: _SUMMARY_LENGTH - 1] + "…"


def sentence(text: Any) -> str:
    """A message as it stands in the code, as a sentence on a page."""
    plain = str(text).strip()
    return plain if not plain else plain[0].upper() + plain[1:] + ("" if plain[-1] in ".!?" else ".")


def with_names(text: str) -> Markup:
    """What stands in backticks, as code."""
    return Markup(re.sub(r"`([^`\s]([^`\n]*[^`\s])?)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just now


def _printable(text: str) -> str:
    # A page is UTF-8, and a lone surrogate in somebody's data is not.
    return text.encode("utf-8", "replace").decode()
