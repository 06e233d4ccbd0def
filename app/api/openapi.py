"""The description of the API: OpenAPI 3.1 made from the routes, and a page to read it."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from flask import Blueprint, Response, render_template

from app.api.edge import answer, description, public
from app.engine import core

blueprint = Blueprint("v1_openapi", __name__)

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong and the way out, in plain words"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_REFUSED = {
    "description": "any refusal, as a problem document (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_HOOK = {
    "summary": "Start a rule",
    "description": "The address of a rule. Answered once the event is on disk; `duplicate` says that it was before.",
    "operationId": "hooks_receive",
    "tags": ["hooks"],
    "security": [],
    "parameters": [{"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}],
    "requestBody": {"content": {"application/json": {"schema": {}}}},
    "responses": {
        "202": {
            "description": "Accepted",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["event", "duplicate"],
                        "properties": {"event": {"type": "string"}, "duplicate": {"type": "boolean"}},
                    }
                }
            },
        }
    },
}


@blueprint.get("/api/v1/openapi.json")
@public
def document() -> Response:
    """The description as OpenAPI 3.1."""
    return answer(described())


@blueprint.get("/api/docs")
@public
def docs() -> str:
    """The description to read."""
    found = described()
    return render_template(
        "api/docs.html",
        groups=_groups(found),
        schemas=found["components"]["schemas"],
        base=found["servers"][0]["url"],
    )


def described() -> dict[str, Any]:
    """What the routes declare, with what all of them share."""
    found: dict[str, Any] = deepcopy(description())
    found["servers"] = [{"url": core.current().config.public_url}]
    found["components"]["schemas"]["Problem"] = _PROBLEM
    found["paths"]["/hooks/{token}"] = {"post": deepcopy(_HOOK)}
    for _path, _method, operation in _operations(found):
        operation["responses"]["default"] = _REFUSED
    return found


def _operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _groups(found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, method, operation in sorted(_operations(found), key=lambda each: (each[0], each[1])):
        shown = operation | {"path": path, "method": method.upper(), "body": _body(operation)}
        groups.setdefault(operation["tags"][0], []).append(shown)
    return groups


def _body(operation: dict[str, Any]) -> str | None:
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name: str | None = schema.get("$ref", "").rpartition("/")[2] or None
    return name
