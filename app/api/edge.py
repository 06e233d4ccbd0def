"""What every route of the API has in common: its least role, its strict input and its documented answer."""

import math
import re
import time
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeVar

import gevent
from flask import Blueprint, Response, request
from limits.errors import StorageError
from pydantic import BaseModel, ValidationError
from spectree import Response as Documented
from spectree import SpecTree

from app.api.auth import authenticate, limited_by
from app.api.problems import SlowError, UnreadableError, UnsupportedError, is_ours
from app.errors import InvalidError, NotFoundError, TooLargeError
from app.extensions import limiter
from app.models import Role
from app.sdk import jsonvalues
from app.sdk.fields import sentences
from app.services.access import require

Model = TypeVar("Model", bound=BaseModel)

BODY_BYTES = 1024 * 1024
BODY_S = 30
RATE = "6000/minute"
_LONGEST_ID = 200

View = Callable[..., Any]

_spec = SpecTree(
    "flask",
    title="BitQueue",
    version="1",
    mode="strict",
    annotations=False,
    naming_strategy=lambda model: re.sub(r"\W", "", model.__name__),
    nested_naming_strategy=lambda _parent, child: child,
    security_schemes=[{"name": "key", "data": {"type": "http", "scheme": "bearer", "bearer_format": "bq_…"}}],
    security={"key": []},
    description="Enqueue tasks, build rules and see what ran. Every error is a problem document (RFC 9457).",
)
_undescribed: list[Callable[[], None]] = []


def noun(name: str, module: str, *, prefix: str = "/api/v1") -> Blueprint:
    """A blueprint whose routes share one rate limit, counted by key."""
    made = Blueprint(f"v1_{name}", module, url_prefix=prefix)
    limiter.shared_limit(RATE, scope="api", key_func=limited_by)(made)
    return made


def operation(
    role: Role,
    *,
    tag: str,
    name: str = "",
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    headers: type[BaseModel] | None = None,
    answers: type[BaseModel] | None = None,
    status: int = 200,
) -> Callable[[View], View]:
    """Calls the view with the actor, and `body` and `query` where it has them; answers what it returns as JSON."""

    def declare(function: View) -> View:
        def view(**path: str) -> Response:
            actor = authenticate()
            require(actor, role)
            _refuse_odd(path)
            given: dict[str, Any] = dict(path)
            if query is not None:
                given["query"] = parse_query(query)
            if body is not None:
                given["body"] = parse_body(body)
            return answer(function(actor, **given), status)

        def document() -> None:
            view.__wrapped__ = _spec.validate(  # type: ignore[attr-defined]
                query=query,
                json=body,
                headers=headers,
                resp=Documented(**{f"HTTP_{status}": answers}),
                tags=[tag],
                skip_validation=True,
                operation_id=f"{function.__module__.rpartition('.')[2]}_{name or function.__name__}",
            )(function)

        _undescribed.append(document)
        update_wrapper(view, function)
        view.least_role = role  # type: ignore[attr-defined]
        return view

    return declare


def description() -> dict[str, Any]:
    """All operations as OpenAPI, made when somebody asks: the models' schemas would take a tenth of every start."""
    while _undescribed:
        _undescribed.pop()()
    found: dict[str, Any] = _spec.spec
    return found


def public(function: View) -> View:
    """Marks a route that needs no key."""
    function.least_role = None  # type: ignore[attr-defined]
    return function


def answer(value: Any, status: int = 200) -> Response:
    if isinstance(value, Response):
        return value
    if value is None:
        return Response(status=204)
    # Python values, not pydantic's own JSON: data from outside may hold lone surrogates, which it refuses.
    plain = value.model_dump(by_alias=True) if isinstance(value, BaseModel) else value
    return Response(jsonvalues.dumps(plain), status, content_type="application/json")


def parse_query(model: type[Model]) -> Model:
    """Raises UnreadableError: an unknown or repeated name is refused like a wrong value."""
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise UnreadableError(f"{repeated[0][:40]} stands twice in the address")
    try:
        return model.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise UnreadableError("the query is not valid", sentences(error)) from None


def parse_body(model: type[Model]) -> Model:
    """Raises UnsupportedError, UnreadableError for what is no JSON, InvalidError for what does not fit."""
    value = read_json()
    if not isinstance(value, dict):
        raise InvalidError("the body must be a JSON object")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidError("the body is not valid", sentences(error)) from None


def read_json() -> Any:
    """No body at all counts as an empty object."""
    if request.mimetype and request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise UnsupportedError("the body must be JSON: send it with Content-Type: application/json")
    raw = read_body(BODY_BYTES)
    if not raw:
        return {}
    try:
        return jsonvalues.loads(raw)
    except jsonvalues.BadJsonError as error:
        raise UnreadableError(str(error)) from None


def read_body(most_bytes: int) -> bytes:
    """Refuses by Content-Length before reading, and while reading where there is none (TooLargeError)."""
    length = request.content_length
    if length is not None and length > most_bytes:
        raise _too_large(most_bytes)
    # One more than allowed: werkzeug cuts a chunked body at its limit without a word.
    request.max_content_length = most_bytes + 1
    with gevent.Timeout(BODY_S, SlowError("the body came too slowly; send it again")):
        raw = request.get_data(cache=False)
    if len(raw) > most_bytes:
        raise _too_large(most_bytes)
    if length is not None and len(raw) < length:
        raise UnreadableError("the body ended before its Content-Length; send it again")
    return raw


def _too_large(most_bytes: int) -> TooLargeError:
    return TooLargeError(f"the body is too large; at most {most_bytes} bytes are read")


def show_limit(response: Response) -> Response:
    """`RateLimit-*` on every answer that counted, with the seconds until the count begins anew."""
    limit = limiter.current_limit
    if limit is None or not is_ours(request.path):
        return response
    try:
        reset_s = max(0, math.ceil(limit.window[0] - time.time()))
        response.headers["RateLimit-Limit"] = str(limit.limit.amount)
        response.headers["RateLimit-Remaining"] = str(limit.remaining)
        response.headers["RateLimit-Reset"] = str(reset_s)
    except StorageError:
        return response
    if response.status_code == 429:
        response.headers["Retry-After"] = str(reset_s)
    return response


def _refuse_odd(path: dict[str, str]) -> None:
    for value in path.values():
        if len(value) > _LONGEST_ID or not value.isprintable():
            raise NotFoundError("nothing of that id here")
