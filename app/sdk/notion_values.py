"""Notion's column values and blocks as plain values and text, and back: what a person fills in is data."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from app.sdk import values
from app.sdk.errors import RejectedError

# https://developers.notion.com/reference/request-limits
_MOST_IN_RUN: Final = 2_000
_MOST_RUNS: Final = 100
_MOST_BLOCKS: Final = 100
_COLUMNS_SHOWN: Final = 20


def rich_text(text: str) -> list[dict[str, Any]]:
    """Text as it is, in runs as long as Notion takes them."""
    runs = [text[at : at + _MOST_IN_RUN] for at in range(0, len(text), _MOST_IN_RUN)]
    if len(runs) > _MOST_RUNS:
        raise RejectedError(
            f"the text is longer than notion's {_MOST_RUNS * _MOST_IN_RUN} characters; shorten it"
        )
    return [{"type": "text", "text": {"content": run}} for run in runs]


def blocks(text: str) -> list[dict[str, Any]]:
    """A paragraph for each part between empty lines, an item for each line that begins with a dash."""
    parts: list[tuple[str, str]] = []
    for part in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").strip("\n")):
        for line in part.split("\n"):
            item = re.match(r"[-*•] +(.*)", line)
            if item:
                parts.append(("bulleted_list_item", item[1]))
            elif parts and parts[-1][0] == "open":
                parts[-1] = ("open", f"{parts[-1][1]}\n{line}")
            else:
                parts.append(("open", line))
        parts = [("paragraph", said) if kind == "open" else (kind, said) for kind, said in parts]
    if len(parts) > _MOST_BLOCKS:
        rest = "\n\n".join(said for _, said in parts[_MOST_BLOCKS - 1 :])
        parts = [*parts[: _MOST_BLOCKS - 1], ("paragraph", rest)]
    return [{"type": kind, kind: {"rich_text": rich_text(said)}} for kind, said in parts]


def column(schema: Mapping[str, Any], typed: str) -> tuple[str, Mapping[str, Any]]:
    """A column's true name, and what the table says of it; raises RejectedError with those it has."""
    names = [name for name in schema if name.casefold() == typed.strip().casefold()]
    found = typed if typed in schema else next(iter(names), None)
    if found is not None:
        return found, schema[found]
    there = ", ".join(list(schema)[:_COLUMNS_SHOWN]) or "none"
    raise RejectedError(f"the database has no column {typed[:60]}; it has {there}")


def _listed(value: Any) -> list[str]:
    given = value if isinstance(value, list | tuple) else values.text(value).split(",")
    return [text for text in (values.text(each).strip() for each in given) if text]


def _number(value: Any) -> int | float | None:
    if values.text(value).strip() == "":
        return None
    found = values.number(value)
    if found is None:
        raise ValueError("a number")
    return int(found) if found == found.to_integral_value() else float(found)


def _checked(value: Any) -> bool:
    text = values.text(value).strip().casefold()
    if text not in {"true", "yes", "1", "false", "no", "0", ""}:
        raise ValueError("true or false")
    return text in {"true", "yes", "1"}


def _date(value: Any) -> dict[str, Any] | None:
    text = values.text(value).strip()
    if not text:
        return None
    if values.instant(text) is None:
        raise ValueError("a date such as 2026-11-21")
    return {"start": text}


def _name(value: Any) -> dict[str, str] | None:
    text = values.text(value).strip()
    return {"name": text} if text else None


def _ids(value: Any) -> list[dict[str, str]]:
    return [{"id": each} for each in _listed(value)]


_WRITE: Final[dict[str, Callable[[Any], Any]]] = {
    "title": lambda value: rich_text(values.text(value)),
    "rich_text": lambda value: rich_text(values.text(value)),
    "number": _number,
    "checkbox": _checked,
    "date": _date,
    "select": _name,
    "status": _name,
    "multi_select": lambda value: [{"name": each} for each in _listed(value)],
    "url": lambda value: values.text(value).strip() or None,
    "email": lambda value: values.text(value).strip() or None,
    "phone_number": lambda value: values.text(value).strip() or None,
    "people": _ids,
    "relation": _ids,
}
_EQUALS: Final = {"multi_select": "contains", "people": "contains", "relation": "contains"}


def properties(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values by column name, as Notion wants them for columns of their kinds."""
    found = [(*column(schema, typed), value) for typed, value in given.items()]
    return {name: _written(about, name, value) for name, about, value in found}


def _written(about: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    kind = str(about.get("type"))
    if kind not in _WRITE:
        raise RejectedError(f"the column {name} is computed by notion ({kind}) and cannot be filled in")
    try:
        return {kind: _WRITE[kind](value)}
    except ValueError as error:
        raise RejectedError(f"the column {name} takes {error}, not {values.show(value)}") from None


def equals(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A filter for the rows whose columns hold these values; empty without any."""
    conditions = []
    for typed, value in given.items():
        name, about = column(schema, typed)
        kind = str(about.get("type"))
        if kind not in _WRITE:
            raise RejectedError(f"rows cannot be chosen by the column {name} ({kind})")
        plain = _written(about, name, value)[kind] if kind in {"number", "checkbox"} else values.text(value)
        conditions.append({"property": name, kind: {_EQUALS.get(kind, "equals"): plain}})
    return {"and": conditions} if conditions else {}


def page(found: Mapping[str, Any]) -> dict[str, Any]:
    """A page as rules see it: its columns as plain values."""
    held = found.get("properties")
    columns = {name: _read(each) for name, each in held.items()} if isinstance(held, dict) else {}
    kinds = {each.get("type"): columns[name] for name, each in (held or {}).items() if isinstance(each, dict)}
    return {
        "id": found.get("id"),
        "url": found.get("url"),
        "title": kinds.get("title") or "",
        "columns": columns,
        "created_at": found.get("created_time"),
        "changed_at": found.get("last_edited_time"),
    }


def _read(held: Any) -> Any:
    """https://developers.notion.com/reference/page-property-values"""
    if not isinstance(held, dict):
        return None
    kind = str(held.get("type"))
    value = held.get(kind)
    if kind in {"title", "rich_text"}:
        return "".join(str(run.get("plain_text", "")) for run in _objects(value))
    if kind in {"select", "status", "created_by", "last_edited_by"}:
        return value.get("name") or value.get("id") if isinstance(value, dict) else None
    if kind in {"multi_select", "people", "files", "relation"}:
        return [each.get("name") or each.get("id") for each in _objects(value)]
    if kind == "date":
        return _read_date(value)
    if kind == "unique_id" and isinstance(value, dict):
        return "-".join(str(part) for part in (value.get("prefix"), value.get("number")) if part is not None)
    if kind == "formula":
        return _read(value)
    if kind == "rollup" and isinstance(value, dict):
        return (
            [_read(each) for each in _objects(value.get("array"))]
            if value.get("type") == "array"
            else _read(value)
        )
    return value if isinstance(value, str | int | float | bool) else None


def _read_date(value: Any) -> Any:
    if not isinstance(value, dict):
        return None
    return {"start": value.get("start"), "end": value["end"]} if value.get("end") else value.get("start")


def _objects(value: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
