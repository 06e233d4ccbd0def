"""Judging requests by a Google API's Discovery document: the method, its parameters, its scopes and its body."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator

from tests.providers.specs import spec_path

_TYPES = {"int64": r"^-?[0-9]+$", "uint64": r"^[0-9]+$", "byte": r"^[A-Za-z0-9_+/=-]*$"}
_BOOLEANS = {"true", "false"}


class Unfit(Exception):
    """What Google answers 400 to."""


@dataclass(frozen=True)
class Method:
    """`pattern` matches the raw path; `path_names` are its parameters in order."""

    id: str
    verb: str
    pattern: re.Pattern[str]
    path_names: tuple[str, ...]
    spec: Mapping[str, Any]
    uploads: bool = False


@dataclass(frozen=True)
class Call:
    """A request that its specification accepts. `params` holds those of path and query."""

    method: str
    params: Mapping[str, Any]
    body: Any = None
    media: bytes | None = None
    media_type: str = ""
    # Who calls: the account that the token belongs to.
    account: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Document:
    """One API as its Discovery document describes it."""

    def __init__(self, name: str) -> None:
        self.raw = json.loads(spec_path(name).read_text())
        self.methods = sorted(self._methods(self.raw), key=lambda one: -len(one.pattern.pattern))

    def find(self, verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
        for method in self.methods:
            found = method.pattern.fullmatch(path) if method.verb == verb else None
            if found:
                values = [unquote(value) for value in found.groups()]
                return method, dict(zip(method.path_names, values, strict=True))
        return None

    def read_params(
        self, method: Method, path: Mapping[str, str], query: Mapping[str, list[str]]
    ) -> dict[str, Any]:
        known = {**self.raw["parameters"], **method.spec.get("parameters", {})}
        given = {name: [value] for name, value in path.items()} | dict(query)
        for name in given:
            if name not in known and not name.startswith("$"):
                raise Unfit(
                    f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
                )
        for name, spec in known.items():
            if spec.get("required") and name not in given:
                raise Unfit(f"Required parameter: {name}")
        return {name: _value(name, known.get(name, {}), values) for name, values in given.items()}

    def check_body(self, method: Method, body: Any) -> None:
        wanted = method.spec.get("request")
        if wanted is None:
            if body is not None:
                raise Unfit("this method takes no body")
            return
        schema = {"$ref": f"#/$defs/{wanted['$ref']}", "$defs": self._schemas}
        error = next(Draft202012Validator(schema).iter_errors(body if body is not None else {}), None)
        if error is not None:
            place = ".".join(str(part) for part in error.absolute_path)
            raise Unfit(f"Invalid JSON payload received. {place}: {error.message[:200]}")

    @cached_property
    def _schemas(self) -> dict[str, Any]:
        return {name: _json_schema(schema) for name, schema in self.raw["schemas"].items()}

    def _methods(self, resource: Mapping[str, Any]) -> Iterator[Method]:
        for spec in resource.get("methods", {}).values():
            yield _method(self.raw["servicePath"] + spec["path"], spec)
            for protocol in spec.get("mediaUpload", {}).get("protocols", {}).values():
                yield _method(protocol["path"].lstrip("/"), spec, uploads=True)
        for inner in resource.get("resources", {}).values():
            yield from self._methods(inner)


def _method(path: str, spec: Mapping[str, Any], *, uploads: bool = False) -> Method:
    names = re.findall(r"\{\+?(\w+)\}", path)
    pattern = re.sub(r"\\\{\\\+(\w+)\\\}", "(.+)", re.escape("/" + path))
    pattern = re.sub(r"\\\{(\w+)\\\}", "([^/]+?)", pattern)
    return Method(spec["id"], spec["httpMethod"], re.compile(pattern), tuple(names), spec, uploads)


def _value(name: str, spec: Mapping[str, Any], values: list[str]) -> Any:
    read = [_one(name, spec, value) for value in values]
    if spec.get("repeated"):
        return read
    if len(read) > 1:
        raise Unfit(f"Parameter {name} is given more than once")
    return read[0]


def _one(name: str, spec: Mapping[str, Any], value: str) -> Any:
    if "enum" in spec and value not in spec["enum"]:
        raise Unfit(f"Invalid value at '{name}': {value[:50]}")
    if spec.get("type") == "integer":
        if not re.fullmatch(r"-?[0-9]+", value):
            raise Unfit(f"Invalid value at '{name}' (TYPE_INT32), {value[:50]}")
        return int(value)
    if spec.get("type") == "boolean":
        if value not in _BOOLEANS:
            raise Unfit(f"Invalid value at '{name}' (TYPE_BOOL), {value[:50]}")
        return value == "true"
    return value


def _json_schema(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Discovery's schemas are draft 3 in all but name; Google refuses fields that it does not know."""
    if "$ref" in spec:
        return {"$ref": f"#/$defs/{spec['$ref']}"}
    kind = spec.get("type")
    if kind == "array":
        return {"type": "array", "items": _json_schema(spec["items"])}
    if kind == "object":
        more = spec.get("additionalProperties")
        fields = {name: _json_schema(value) for name, value in spec.get("properties", {}).items()}
        return {
            "type": "object",
            "properties": fields,
            "additionalProperties": _json_schema(more) if more else False,
        }
    if kind in {None, "any"}:
        return {}
    found: dict[str, Any] = {"type": kind}
    if "enum" in spec:
        found["enum"] = spec["enum"]
    if kind == "string" and spec.get("format") in _TYPES:
        return {"anyOf": [{"type": "string", "pattern": _TYPES[spec["format"]]}, {"type": "integer"}]}
    return found
