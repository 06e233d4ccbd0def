"""JSON Schemas that people give for an answer: which are taken, and whether an answer fits."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final

from app.sdk import jsonvalues

MAX_SCHEMA_CHARS: Final = 20_000
_SHOWN_CHARS: Final = 160
# A pattern can take for ever to try, and references can multiply without end: both would hold the worker up.
_REFUSED: Final = ("$ref", "$dynamicRef", "$recursiveRef", "pattern", "patternProperties")


def require_schema(schema: object) -> dict[str, Any]:
    """The schema of an object, as it was given. Raises ValueError in plain words."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ValueError('must be a JSON Schema of an object: {"type": "object", "properties": {…}}')
    if len(jsonvalues.dumps(schema)) > MAX_SCHEMA_CHARS:
        raise ValueError(f"must have at most {MAX_SCHEMA_CHARS} characters")
    if refused := next(_refused(schema), None):
        raise ValueError(f"must not use {refused}; write out what it stands for")
    jsonschema = _jsonschema()
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "it"
        raise ValueError(f"is no JSON Schema: {where}: {_short(error.message)}") from None
    return schema


def _jsonschema() -> Any:
    """Imported when first used: it takes a fifth of a second."""
    return import_module("jsonschema")


def _refused(part: object) -> Iterator[str]:
    """Keywords, told from properties of the same name by what they hold."""
    if isinstance(part, Mapping):
        for name, value in part.items():
            if name in _REFUSED and (isinstance(value, str) or name == "patternProperties"):
                yield name
            yield from _refused(value)
    if isinstance(part, list):
        for item in part:
            yield from _refused(item)


def read(text: str, schema: Mapping[str, Any]) -> tuple[Any, str | None]:
    """The value of a JSON answer, and what is wrong with it, if anything is."""
    try:
        value = jsonvalues.loads(_bare(text).encode())
    except (jsonvalues.BadJsonError, UnicodeError) as error:
        return None, f"it is not JSON: {_short(str(error))}"
    return value, objection(value, schema)


def objection(value: object, schema: Mapping[str, Any]) -> str | None:
    """What is wrong first, naming the place; None where the value fits."""
    error = next(iter(_jsonschema().Draft202012Validator(schema).iter_errors(value)), None)
    if error is None:
        return None
    where = ".".join(map(str, error.absolute_path))
    return f"{where}: {_short(error.message)}" if where else _short(error.message)


def _bare(text: str) -> str:
    """Without the fence that models like to put around JSON."""
    lines = text.strip().splitlines()
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].strip() == "```":
        return "\n".join(lines[1:-1])
    return text


def _short(message: str) -> str:
    shown = " ".join(message.split())
    return shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + "…"
