"""Declared settings as form fields, and what was typed into them as JSON values again."""

import json
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from zoneinfo import available_timezones

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from werkzeug.datastructures import MultiDict

from app.sdk import jsonvalues, templates, values
from app.sdk.context import FileRef
from app.sdk.fields import spread
from app.web.field_order import in_order
from app.web.filters import sentence

# Before every declared name, so that a field called `name` is not the form's own.
PREFIX: Final = "p_"

_WRITTEN: Final = {
    "csv": "CSV", "docx": "Word (.docx)", "md5": "MD5", "oauth": "OAuth", "pdf": "PDF", "sha1": "SHA-1",
    "sha256": "SHA-256", "sha512": "SHA-512", "starttls": "STARTTLS", "tls": "TLS", "txt": "text (.txt)",
    "xlsx": "Excel (.xlsx)",
}  # fmt: skip
_WIDGETS = frozenset({"textarea", "code", "pairs"})
_JSON_HELP = 'write templates in quotes, as in {"total": "{{ event.total }}"}: a lone one keeps its type'


@dataclass(frozen=True, slots=True)
class Typed:
    """What a form brought: values for the model, the texts as typed, and what cannot be read at all."""

    values: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def kind_of(info: FieldInfo) -> str:
    """The sort of control that fits the field's type."""
    widget = _extra(info).get("widget", "")
    if widget in _WIDGETS:
        return str(widget)
    inner = _plain_type(info.annotation)
    if inner is SecretStr:
        return "secret"
    if get_origin(inner) is Literal or widget == "zone":
        return "select"
    if inner is FileRef:
        # Its id, or an earlier step's file as `{{ steps.download.file }}`.
        return "text"
    simple = {bool: "checkbox", int: "number", float: "number", str: "text", datetime: "datetime"}
    if inner in simple:
        return simple[inner]
    return {list: "list", dict: "pairs"}.get(get_origin(inner) or inner, "code")


def show(
    model: type[BaseModel],
    given: Mapping[str, Any],
    errors: Mapping[str, str] | None = None,
    *,
    templated: bool = False,
    kept: Collection[str] = (),
    typed: Typed | None = None,
) -> list[dict[str, Any]]:
    """One field per setting, for `macros/forms.html`.

    `errors` maps dotted paths below the model; `kept` names the secrets that are stored; `typed` wins over `given`.
    """
    beside = _by_field(errors or {})
    shown = []
    for name, info in in_order(model):
        value = given.get(
            name, info.get_default(call_default_factory=True) if not info.is_required() else None
        )
        raw = typed.texts.get(name) if typed else None
        shown.append(_field(name, info, value, raw) | {"error": beside.get(name), "kept": name in kept})
        shown[-1]["templated"] = templated and shown[-1]["kind"] not in {
            "checkbox",
            "select",
            "secret",
            "datetime",
        }
    return shown


def read(model: type[BaseModel], form: "MultiDict[str, str]") -> Typed:
    """Everything in a form is text: turned into what the model's fields are made of."""
    typed = Typed()
    for name, info in model.model_fields.items():
        _read_field(name, info, form, typed)
    return Typed(spread(model, typed.values), typed.texts, typed.problems)


def summary(
    errors: Mapping[str, str], labels: Mapping[str, str], *, prefix: str = PREFIX
) -> list[dict[str, str]]:
    """For the list of errors at the top of a form: each leads to its field."""
    return [
        {"field_id": f"f-{prefix}{name}", "label": labels.get(name, name or "This form"), "text": text}
        for name, text in _by_field(errors).items()
    ]


def labels(model: type[BaseModel]) -> dict[str, str]:
    return {name: _label(name, info) for name, info in model.model_fields.items()}


def _field(name: str, info: FieldInfo, value: Any, raw: Any) -> dict[str, Any]:
    kind = kind_of(info)
    if isinstance(value, str) and templates.is_template(value) and kind in {"checkbox", "select", "datetime"}:
        kind = "text"
    if kind == "datetime" and isinstance(value, str) and (value.endswith("Z") or "+" in value):
        kind = "text"
    extra = _extra(info)
    example = info.examples[0] if info.examples else None
    return {
        "name": PREFIX + name,
        "label": _label(name, info),
        "kind": "text" if kind == "list" else kind,
        "value": None if kind == "secret" else raw if raw is not None else _shown(kind, value),
        "help": _help(kind, info),
        "example": _shown("list" if kind == "list" else "text", example) if example is not None else None,
        "where": sentence(extra["where"]) if extra.get("where") else None,
        # A choice and a number with a default are never empty.
        "required": info.is_required() or (kind in {"select", "number"} and info.default is not None),
        "choices": _choices(info) if kind == "select" else None,
    }


def _help(kind: str, info: FieldInfo) -> str | None:
    said = info.description or ("several with commas between" if kind == "list" else None)
    return sentence(said) if said else None


def _choices(info: FieldInfo) -> list[dict[str, str]]:
    if _extra(info).get("widget") == "zone":
        return [{"value": zone, "label": zone} for zone in sorted(available_timezones())]
    options = [values.text(option) for option in get_args(_plain_type(info.annotation))]
    words = _extra(info).get("choices", {})
    return [{"value": option, "label": words.get(option) or in_words(option)} for option in options]


def in_words(option: str) -> str:
    """A choice without words of its own, as one writes it: `service_account`, `starttls`."""
    return " ".join(_WRITTEN.get(word, word) for word in option.replace("_", " ").split(" "))


def _shown(kind: str, value: Any) -> Any:
    if kind == "checkbox":
        return value is True
    if kind == "pairs":
        return _as_pairs(value)
    if value is None:
        return ""
    if kind == "code":
        if value in ([], {}):
            return ""
        return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    if kind == "list" and isinstance(value, list):
        return ", ".join(values.text(item) for item in value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="minutes")
    return values.text(value)


def _as_pairs(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, Mapping):
        return []
    return [
        {"name": str(name), "value": values.text(item)}
        for name, items in value.items()
        for item in (items if isinstance(items, list) else [items])
    ]


def _read_field(name: str, info: FieldInfo, form: "MultiDict[str, str]", typed: Typed) -> None:
    kind = kind_of(info)
    if kind == "pairs":
        pairs = list(
            zip(form.getlist(f"{PREFIX}{name}.name"), form.getlist(f"{PREFIX}{name}.value"), strict=False)
        )
        typed.texts[name] = [
            {"name": key, "value": value} for key, value in pairs if key.strip() or value.strip()
        ]
        typed.values[name] = _joined(pairs)
        return
    text = form.get(PREFIX + name, "").replace("\r\n", "\n")
    if kind != "checkbox" and PREFIX + name not in form:
        return
    if kind == "checkbox":
        typed.values[name] = text if templates.is_template(text) else text != ""
        # A form that comes back keeps its ticks.
        typed.texts[name] = typed.values[name]
        return
    if kind != "secret":
        typed.texts[name] = text
    if kind == "code":
        _read_json(name, text, typed)
    elif text.strip() or (kind == "text" and info.default not in ("", None) and not info.is_required()):
        typed.values[name] = _value(kind, info, text)


def _value(kind: str, info: FieldInfo, text: str) -> Any:
    if kind == "number" and not templates.is_template(text):
        return _number(text.strip())
    if kind == "select":
        options = get_args(_plain_type(info.annotation))
        return next((option for option in options if values.text(option) == text), text)
    return text if kind in {"textarea", "secret"} else text.strip()


def _number(text: str) -> Any:
    try:
        found = jsonvalues.loads(text.encode())
    except ValueError:
        return text
    return found if isinstance(found, int | float) else text


def _read_json(name: str, text: str, typed: Typed) -> None:
    if not text.strip():
        return
    try:
        typed.values[name] = jsonvalues.loads(text.encode("utf-8", "surrogatepass"))
    except ValueError as error:
        stripped = text.strip()
        if templates.is_template(stripped) and stripped.startswith("{{") and stripped.endswith("}}"):
            typed.values[name] = stripped
            return
        said = str(error).removeprefix("the body ")
        typed.problems[name] = f"{said}; {_JSON_HELP}" if "{{" in text else said


def _joined(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """A name that stands twice keeps both values, as in a query."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        key = name.strip()
        if not key:
            continue
        found[key] = (
            [*(found[key] if isinstance(found[key], list) else [found[key]]), value]
            if key in found
            else value
        )
    return found


def _by_field(errors: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, text in errors.items():
        name, _, rest = path.partition(".")
        found.setdefault(name, f"{rest}: {text}" if rest and not rest.isdigit() else text)
    return found


def _label(name: str, info: FieldInfo) -> str:
    return info.title or name.replace("_", " ").capitalize()


def _extra(info: FieldInfo) -> Mapping[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, Mapping) else {}


def _plain_type(annotation: Any) -> Any:
    """Without `Annotated` and without `| None`."""
    if get_origin(annotation) is Annotated:
        return _plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [each for each in get_args(annotation) if each is not type(None)]
        return _plain_type(inner[0]) if len(inner) == 1 else None
    return annotation
