"""Every refusal of the API as one shape: a problem document (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from flask import Blueprint, Flask, Response, request
from flask_limiter import RateLimitExceeded
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed

from app.database import AWAY, outage
from app.errors import BitQueueError, InvalidError, UnavailableError
from app.sdk import jsonvalues
from app.sdk.errors import AuthError, IntegrationError, RefusedError, TemporaryError

log = structlog.get_logger()

PREFIXES = ("/api", "/enqueue", "/status", "/hooks", "/healthz", "/readyz", "/metrics")
RETRY_AFTER_S = 2
# Named one by one: Flask prefers an application's handler of one code over a blueprint's of all codes.
_CODES = (400, 401, 403, 404, 405, 406, 408, 409, 410, 411, 413, 414, 415, 416, 417, 422, 429, 431, 500, 503)
_SENTENCES = {
    400: "the request cannot be read",
    404: "there is nothing at this address; see /api/docs",
    405: "this address does not take {method}",
    408: "the body came too slowly; send it again",
    413: "the body is too large",
    414: "the address is too long",
    431: "the headers are too large",
    500: "this is a fault in bitqueue; it was logged",
}


class UnauthorizedError(BitQueueError):
    """No key, a wrong one, or one in the wrong place."""

    status = 401


class UnsupportedError(BitQueueError):
    """A body of another media type than JSON."""

    status = 415


class SlowError(BitQueueError):
    """The body did not arrive in time."""

    status = 408


class UnreadableError(InvalidError):
    """A request that cannot be read at all, where InvalidError is one that says something impossible."""

    status = 400


def is_ours(path: str) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in PREFIXES)


def problem(status: int, detail: str, fields: Mapping[str, str] | None = None) -> Response:
    """`errors` lists the wrong fields by their dotted path in the body."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if fields:
        document["errors"] = [{"field": path, "detail": sentence} for path, sentence in fields.items()]
    answer = Response(jsonvalues.dumps(document), status, content_type="application/problem+json")
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="bitqueue"'
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer


def answer_errors(blueprint: Blueprint) -> None:
    blueprint.register_error_handler(BitQueueError, _of_ours)
    blueprint.register_error_handler(IntegrationError, _of_integration)
    blueprint.register_error_handler(DBAPIError, _of_database)
    for code in _CODES:
        blueprint.register_error_handler(code, _of_http)


def answer_unrouted(app: Flask) -> None:
    """No blueprint is known yet for an address or a method that no route takes."""

    def answer() -> Response | None:
        if request.routing_exception is None or not is_ours(request.path):
            return None
        return _of_http(request.routing_exception)

    app.before_request(answer)


def _of_ours(error: BitQueueError) -> Response:
    return problem(error.status, str(error), error.fields if isinstance(error, InvalidError) else None)


def _of_integration(error: IntegrationError) -> Response:
    if isinstance(error, RefusedError):
        return problem(error.status, str(error))
    if isinstance(error, TemporaryError):
        return problem(503, str(error))
    return problem(422, str(error), {"settings": str(error)} if isinstance(error, AuthError) else None)


def _of_database(error: DBAPIError) -> Response:
    if isinstance(error, AWAY):
        log.warning("api_database_away", path=request.path, error=outage(error))
    else:
        log.error("api_database_fault", path=request.path, exc_info=error)
    return _of_ours(
        UnavailableError("the database cannot be used now; nothing was stored, try again in a moment")
    )


def _of_http(error: HTTPException) -> Response:
    status = error.code or 500
    if error.response is not None and status < 400:
        return Response(
            status=status, headers={"Location": error.get_response().headers.get("Location", "/")}
        )
    detail = _SENTENCES.get(status, HTTPStatus(status).phrase.lower())
    answer = problem(status, detail.format(method=request.method))
    _add_headers(answer, error)
    return answer


def _add_headers(answer: Response, error: HTTPException) -> None:
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        answer.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    if isinstance(error, RateLimitExceeded):
        answer.set_data(problem(429, "too many requests with this key; slow down").get_data())
    if isinstance(error, InternalServerError):
        log.error("api_fault", path=request.path, exc_info=error.original_exception)
