"""Judging requests and answers by a provider's OpenAPI document."""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse
from werkzeug.datastructures import ImmutableMultiDict

from tests.providers.http import Received, Says
from tests.providers.specs import spec_path

_HOST = "http://localhost"


def objection(spec: str, request: Received) -> str | None:
    """What the specification has against a request; None when it fits."""
    return _heard(_document(spec).iter_request_errors, _as_request(request))


def objection_to_answer(spec: str, request: Received, says: Says) -> str | None:
    """What it has against the answer of a stand-in."""
    kind = says.headers.get("Content-Type", "application/json")
    answer = MockResponse(says.body, status_code=says.status, content_type=kind)
    return _heard(_document(spec).iter_response_errors, _as_request(request), answer)


def unknown_fields(given: Iterable[str], spec: str, *path: str) -> list[str]:
    """Names that a schema does not list: OpenAPI lets them pass where it does not forbid them."""
    schema: Any = _read(spec)
    for name in path:
        schema = schema[name]
    return sorted(set(given) - set(schema["properties"]))


def _heard(find: Any, *what: Any) -> str | None:
    try:
        for error in find(*what):
            return f"{error} {error.__cause__ or ''}".strip()
    except OpenAPIError as error:
        return f"{error} {error.__cause__ or ''}".strip()
    return None


def _as_request(request: Received) -> MockRequest:
    pairs = [(name, value) for name, values in request.query.items() for value in values]
    made = MockRequest(
        _HOST,
        request.method,
        request.path,
        headers=dict(request.headers),
        data=request.body,
        content_type=request.headers.get("content-type", "").partition(";")[0],
    )
    made.parameters.query = ImmutableMultiDict(pairs)
    return made


def form_of(request: Received) -> dict[str, list[str]]:
    form: dict[str, list[str]] = {}
    for name, value in parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True):
        form.setdefault(name, []).append(value)
    return form


@cache
def _document(spec: str) -> OpenAPI:
    return OpenAPI.from_dict({**_without_servers(_read(spec)), "servers": [{"url": _HOST}]})


@cache
def _read(spec: str) -> dict[str, Any]:
    return json.loads(spec_path(spec).read_text())


def _without_servers(node: Any) -> Any:
    """Paths may name servers of their own; a discriminator without a mapping confuses the judge."""
    if isinstance(node, list):
        return [_without_servers(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        name: _without_servers(value)
        for name, value in node.items()
        if not (name == "servers" and isinstance(value, list))
        and not (name == "discriminator" and isinstance(value, dict) and "mapping" not in value)
    }
