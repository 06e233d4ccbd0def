"""What any program says when it calls a hook: the data, the key that tells a repeat, and how it was called."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from app.sdk import inbound, jsonvalues, paths, values
from app.sdk.declare import InboundRequest
from app.sdk.errors import RefusedError
from app.sdk.urls import looks_secret

MAX_KEY_CHARS: Final = 200
_MAX_HEADER_CHARS: Final = 500
# What proxies and HTTP itself add says nothing about what happened.
_NOISE: Final = (
    "x-forwarded-",
    "x-real-ip",
    "cf-",
    "accept-encoding",
    "connection",
    "host",
    "content-length",
    "via",
)
# The names under which senders say which delivery this is.
_DELIVERY_HEADERS: Final = ("webhook-id", "idempotency-key", "x-github-delivery")


def data(request: InboundRequest) -> dict[str, Any]:
    """The fields of a JSON object or form, of the query of a GET call, or `text`; raises RefusedError."""
    if request.method == "GET":
        return dict(request.query)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError("compressed bodies are not read; send it as it is", status=415)
    kind = inbound.media_type(request)
    if kind.endswith(("/json", "+json")):
        return _named(inbound.read_json(request))
    if kind == "application/x-www-form-urlencoded":
        return inbound.read_form(request)
    if kind.startswith("multipart/"):
        raise RefusedError("multipart bodies are not read; send JSON or a plain form", status=415)
    return _unlabelled(request) if not kind else {"text": inbound.read_text(request)}


def _unlabelled(request: InboundRequest) -> dict[str, Any]:
    text = inbound.read_text(request)
    if not text.strip():
        return {}
    try:
        return _named(jsonvalues.loads(request.body))
    except jsonvalues.BadJsonError:
        return {"text": text}


def _named(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"body": value}


def key(request: InboundRequest, data: Mapping[str, Any], field: str) -> str | None:
    """The same for every delivery of the same event, where the caller says so."""
    given = [_at(data, field), *map(request.headers.get, _DELIVERY_HEADERS), _cloud_event(request, data)]
    key = next((name for name in given if name), None)
    if key is None or len(key) <= MAX_KEY_CHARS:
        return key
    return "sha256:" + hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def _at(data: Mapping[str, Any], field: str) -> str:
    for path in filter(None, [field, field.removeprefix("event.")]):
        try:
            return values.text(paths.lookup(data, path))
        except (paths.PathError, paths.MissingPath):
            continue
    return ""


def _cloud_event(request: InboundRequest, data: Mapping[str, Any]) -> str | None:
    """CloudEvents: source and id together name an event, in headers (`ce-…`) or in the body."""
    name, source = request.headers.get("ce-id"), request.headers.get("ce-source", "")
    if not name and inbound.media_type(request) == "application/cloudevents+json":
        name, source = _at(data, "id"), _at(data, "source")
    return f"{source} {name}" if name else None


def about(request: InboundRequest, *, without: str = "") -> dict[str, Any]:
    """How it was called; secrets and what proxies add stay unsaid, and the header `without`, too."""
    dropped = {"content-type", without}
    headers = {
        name: value[:_MAX_HEADER_CHARS]
        for name, value in request.headers.items()
        if name not in dropped and not name.startswith(_NOISE) and not looks_secret(name)
    }
    return {
        "method": request.method,
        "content_type": inbound.media_type(request),
        "query": dict(request.query),
        "headers": headers,
    }
