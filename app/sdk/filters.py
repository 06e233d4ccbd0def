"""The filters of templates: pure, bounded, and strict where Liquid's own guess (`"abc" | times: 2` is 0)."""

import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import reduce
from typing import Any, Final
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

from liquid.exceptions import FilterError

from app.sdk import values

Filter = Callable[..., object]

MAX_CHARS: Final = 1_000_000

_DIRECTIVE = re.compile(r"%[-_0^#]?[A-Za-z%]")
_TAG = re.compile(r"<[^<>]*>")
_MAX_FORMAT_CHARS = 100
_MAX_ZONE_CHARS = 60
_MAX_DIGITS = 300
# The default context rounds at 28 digits without a word.
_EXACT = Context(prec=_MAX_DIGITS, rounding=ROUND_HALF_UP)


def fail(sentence: str) -> FilterError:
    return FilterError(sentence, token=None)


def _bounded(chars: int) -> None:
    if chars > MAX_CHARS:
        raise fail(f"the text would be longer than {MAX_CHARS} characters")


def _number(value: object) -> Decimal:
    found = values.number(value)
    if found is None:
        raise fail(f"{values.show(value)} is not a number")
    return found


def _plain_number(value: Decimal) -> int | float:
    """Whole numbers as int, so that 2 + 3 is 5 and not 5.0."""
    if value.adjusted() > _MAX_DIGITS:
        raise fail("the number is too large")
    return int(value) if value == value.to_integral_value() else float(value)


def _integer(value: object) -> int:
    whole = _plain_number(_number(value))
    if not isinstance(whole, int):
        raise fail(f"{values.show(value)} is not a whole number")
    return max(-MAX_CHARS, min(MAX_CHARS, whole))


def _list(value: object) -> list[Any]:
    if isinstance(value, list | tuple | range):
        return list(value)
    raise fail(f"{values.show(value)} is not a list")


def _of_text(change: Callable[[str], str]) -> Filter:
    return lambda value: change(values.text(value))


def _of_number(change: Callable[[Decimal], object]) -> Filter:
    return lambda value: change(_number(value))


def _of_numbers(change: Callable[[Decimal, Decimal], Decimal]) -> Filter:
    return lambda value, other: _plain_number(change(_number(value), _number(other)))


def _append(value: object, tail: object) -> str:
    return values.text(value) + values.text(tail)


def _prepend(value: object, head: object) -> str:
    return values.text(head) + values.text(value)


def _replace(value: object, old: object, new: object = "") -> str:
    source, gone, put = values.text(value), values.text(old), values.text(new)
    _bounded(len(source) + source.count(gone) * max(0, len(put) - len(gone)))
    return source.replace(gone, put)


def _truncate(value: object, length: object = 50, end: object = "...") -> str:
    source, chars, tail = values.text(value), _integer(length), values.text(end)
    return source if len(source) <= chars else source[: max(0, chars - len(tail))] + tail


def _truncatewords(value: object, count: object = 15, end: object = "...") -> str:
    words, most = values.text(value).split(), max(1, _integer(count))
    return " ".join(words) if len(words) <= most else " ".join(words[:most]) + values.text(end)


def _split(value: object, separator: object = " ") -> list[str]:
    source, between = values.text(value), values.text(separator)
    if between == "":
        return list(source)
    return source.split(None if between == " " else between) if source else []


def _join(value: object, separator: object = " ") -> str:
    parts, between = [values.text(part) for part in _list(value)], values.text(separator)
    _bounded(sum(map(len, parts)) + len(between) * len(parts))
    return between.join(parts)


def _slice(value: object, start: object, length: object = 1) -> object:
    begin, count = _integer(start), _integer(length)
    end = None if begin < 0 <= begin + count else begin + count
    return _list(value)[begin:end] if isinstance(value, list | tuple) else values.text(value)[begin:end]


def _first(value: object) -> object:
    return next(iter(_list(value)), None)


def _last(value: object) -> object:
    return next(reversed(_list(value)), None)


def _size(value: object) -> int:
    return len(value) if isinstance(value, Mapping | list | tuple | range) else len(values.text(value))


def _default(value: object, instead: object = "") -> object:
    return instead if value is None or value is False or value in ("", [], {}) else value


def _divided_by(left: Decimal, right: Decimal) -> Decimal:
    """Whole numbers divide to whole numbers, as everywhere in Liquid."""
    if right == 0:
        raise fail("a number cannot be divided by 0")
    exact = _EXACT.divide(left, right)
    whole = left.same_quantum(Decimal(0)) and right.same_quantum(Decimal(0))
    return Decimal(math.floor(exact)) if whole else exact


def _modulo(left: Decimal, right: Decimal) -> Decimal:
    if right == 0:
        raise fail("a number cannot be divided by 0")
    whole = Decimal(math.floor(_EXACT.divide(left, right)))
    return _EXACT.subtract(left, _EXACT.multiply(right, whole))


def _round(value: object, digits: object = 0) -> int | float:
    places = Decimal(1).scaleb(-max(0, min(20, _integer(digits))))
    return _plain_number(_EXACT.quantize(_number(value), places))


def _date(value: object, form: object = "%Y-%m-%d", zone: object = "UTC") -> str:
    found = values.instant(value)
    if found is None:
        raise fail(f"{values.show(value)} is not a date; one looks like 2026-11-21T09:00:00Z")
    pattern = values.text(form)
    if len(pattern) > _MAX_FORMAT_CHARS or "%" in _DIRECTIVE.sub("", pattern):
        raise fail(f"{values.show(pattern)} is not a date format; one looks like %d.%m.%Y %H:%M")
    return _local(found, values.text(zone)).strftime(pattern)


def _local(found: datetime, zone: str) -> datetime:
    try:
        return found.astimezone(ZoneInfo(zone[:_MAX_ZONE_CHARS]))
    except (LookupError, ValueError, OSError, OverflowError):
        raise fail(f"{values.show(zone)} is not a time zone; one looks like Europe/Berlin") from None


def _strip_html(source: str) -> str:
    """For reading, not for safety: what must be safe in HTML goes through `escape`."""
    for name in ("script", "style"):
        end = source.lower().rfind(f"</{name}")
        if end >= 0:
            closed, rest = source[:end] + f"</{name}", source[end:]
            source = re.sub(rf"<{name}\b.*?</{name}", "", closed, flags=re.IGNORECASE | re.DOTALL) + rest
    return _TAG.sub("", source)


def _field(item: object, name: object) -> object:
    return item.get(values.text(name)) if isinstance(item, Mapping) else None


def _map(value: object, name: object) -> list[object]:
    return [_field(item, name) for item in _list(value)]


def _where(value: object, name: object, wanted: object = None) -> list[object]:
    if wanted is None:
        return [item for item in _list(value) if _field(item, name) not in (None, False)]
    return [item for item in _list(value) if values.as_json(_field(item, name)) == values.as_json(wanted)]


def _sort(value: object, name: object = None) -> list[object]:
    """Numbers before text, what has no value last."""
    return sorted(_list(value), key=lambda item: _rank(item if name is None else _field(item, name)))


def _rank(value: object) -> tuple[int, Decimal, str]:
    found = values.number(value)
    if found is not None:
        return 0, found, ""
    return (2 if value is None else 1), Decimal(0), values.text(value)


def _uniq(value: object, name: object = None) -> list[object]:
    firsts: dict[str, object] = {}
    for item in _list(value):
        firsts.setdefault(values.as_json(item if name is None else _field(item, name)), item)
    return list(firsts.values())


def _concat(value: object, more: object) -> list[object]:
    return [*_list(value), *_list(more)]


def _sum(value: object, name: object = None) -> int | float:
    items: Sequence[object] = _list(value) if name is None else _map(value, name)
    return _plain_number(reduce(_EXACT.add, map(_number, items), Decimal(0)))


FILTERS: Final[Mapping[str, Filter]] = {
    "abs": _of_number(lambda number: _plain_number(abs(number))),
    "append": _append,
    "at_least": _of_numbers(max),
    "at_most": _of_numbers(min),
    "capitalize": _of_text(str.capitalize),
    "ceil": _of_number(math.ceil),
    "compact": lambda value: [item for item in _list(value) if item is not None],
    "concat": _concat,
    "date": _date,
    "default": _default,
    "divided_by": _of_numbers(_divided_by),
    "downcase": _of_text(str.lower),
    "escape": _of_text(html.escape),
    "first": _first,
    "floor": _of_number(math.floor),
    "join": _join,
    "json": values.as_json,
    "last": _last,
    "lstrip": _of_text(str.lstrip),
    "map": _map,
    "minus": _of_numbers(_EXACT.subtract),
    "modulo": _of_numbers(_modulo),
    "newline_to_br": _of_text(lambda source: source.replace("\r\n", "\n").replace("\n", "<br />\n")),
    "plus": _of_numbers(_EXACT.add),
    "prepend": _prepend,
    "remove": _replace,
    "replace": _replace,
    "reverse": lambda value: _list(value)[::-1],
    "round": _round,
    "rstrip": _of_text(str.rstrip),
    "size": _size,
    "slice": _slice,
    "sort": _sort,
    "split": _split,
    "strip": _of_text(str.strip),
    "strip_html": _of_text(_strip_html),
    "sum": _sum,
    "times": _of_numbers(_EXACT.multiply),
    "truncate": _truncate,
    "truncatewords": _truncatewords,
    "uniq": _uniq,
    "upcase": _of_text(str.upper),
    "url_encode": _of_text(lambda source: quote_plus(source, errors="replace")),
    "where": _where,
}
