"""Every refusal and fault as a calm page: what it is, the way out, never a traceback."""

import structlog
from flask import Flask, render_template, request
from flask_limiter import RateLimitExceeded
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DataError, DBAPIError
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response

from app import ids
from app.database import AWAY, outage
from app.errors import BitQueueError
from app.web.filters import sentence

log = structlog.get_logger()

Answer = tuple[str, int]
_TITLES = {
    400: "That could not be read",
    403: "Not allowed",
    404: "Nothing here",
    405: "Not like this",
    409: "Not now",
    410: "No longer here",
    413: "Too large",
    422: "Something does not fit",
    429: "Too many tries",
    500: "Something broke",
    503: "Busy at the moment",
}
_TEXTS = {
    400: "The request is damaged. Go back, reload the page and try again.",
    404: "There is nothing at this address, or it belongs to another workspace.",
    405: "This address is not opened like this. Go back and use the button.",
    413: "The form is larger than one megabyte. Shorten it and send it again.",
    429: "There were too many tries in a short time. Wait a minute, then try again.",
    500: "This is a fault in BitQueue. It was logged; what you had saved before is still there.",
    503: "The database cannot be used right now. Nothing was changed; try again in a moment.",
}
_FORM_TOO_OLD = (
    "This form was not opened here, or long ago. Reload the page and send it again; nothing was changed."
)


def show_errors(app: Flask) -> None:
    app.register_error_handler(BitQueueError, _of_ours)
    app.register_error_handler(DBAPIError, _of_database)
    app.register_error_handler(DataError, _of_data)
    app.register_error_handler(CSRFError, _of_form)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(500, _of_fault)
    # Faults are logged below with the reference that the page shows; Flask would log each a second time.
    app.log_exception = lambda exc_info: None  # type: ignore[method-assign]


def page(status: int, text: str | None = None, *, reference: str | None = None) -> Answer:
    """`reference` is what the operator finds in the log."""
    body = render_template(
        "errors/error.html",
        code=status,
        title=_TITLES.get(status, "That did not work"),
        text=text or _TEXTS.get(status, "Go back and try again."),
        way_out=None,
        request_id=reference,
    )
    return body, status


def _of_ours(error: BitQueueError) -> Answer:
    return page(error.status, sentence(error))


def _of_form(_error: CSRFError) -> Answer:
    return page(400, _FORM_TOO_OLD)


def _of_http(error: HTTPException) -> Response | Answer:
    status = error.code or 500
    if status < 400:
        return error.get_response()
    answer, _ = page(status)
    return Response(answer, status, headers=_kept_headers(error), content_type="text/html; charset=utf-8")


def _kept_headers(error: HTTPException) -> dict[str, str]:
    if isinstance(error, RateLimitExceeded):
        return {"Retry-After": "60"}
    return {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After"}}


def _of_database(error: DBAPIError) -> Answer:
    reference = ids.new("err")
    if isinstance(error, AWAY):
        log.warning("page_database_away", reference=reference, path=request.path, error=outage(error))
    else:
        log.error("page_database_fault", reference=reference, path=request.path, exc_info=error)
    return page(503, reference=reference)


def _of_data(_error: DataError) -> Answer:
    return page(
        400, "Something in the form cannot be stored: a NUL character, or a number that is too large."
    )


def _of_fault(error: InternalServerError) -> Answer:
    reference = ids.new("err")
    log.error(
        "page_fault", reference=reference, path=request.path, exc_info=error.original_exception or error
    )
    return page(500, reference=reference)
