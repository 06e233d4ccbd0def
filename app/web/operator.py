"""For those who run this server: its processes, its database, and RQ's own dashboard, to look at only."""

from typing import Any, Final

import rq_dashboard.web as rq_web
from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.blueprints import BlueprintSetupState
from flask_login import current_user
from werkzeug import wrappers
from werkzeug.exceptions import MethodNotAllowed, NotFound

from app.database import db
from app.engine import core
from app.engine.doorbell import KnownJob
from app.services import processes
from app.web import errors, links
from app.web.access import operators

blueprint = Blueprint("operator", __name__, url_prefix="/operator")

_RQ: Final = rq_web.blueprint.name
_JSON: Final = "rq.serializers.JSONSerializer"
# What of the dashboard may be opened. The rest changes things: `requeue_all` even on a GET.
_LOOKING: Final = frozenset(
    f"{_RQ}.{name}"
    for name in (
        "static", "favicon", "queues_overview", "workers_overview", "jobs_overview", "job_view", "list_queues",
        "list_jobs", "job_info", "list_workers",
    )
)  # fmt: skip
# The dashboard writes its scripts into its pages and compiles templates in the browser.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class _JsonWorker(rq_web.Worker):  # type: ignore[misc]
    """A worker's record; what hangs on it is never read as pickle."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | {"serializer": _JSON, "job_class": KnownJob}))


@blueprint.get("/")
@operators
def index() -> str:
    session = db.session()
    return render_template(
        "operator/index.html",
        processes=processes.listing(session),
        tick_at=processes.last_tick(session),
        database=session.get_bind().dialect.name,
        database_bytes=processes.database_bytes(session),
        redis=core.current().doorbell.is_reachable(),
    )


@blueprint.record_once
def _mount(state: BlueprintSetupState) -> None:
    """RQ's dashboard, with our Redis client and our job class."""
    app: Any = state.app
    rq_web.config.serializer = _JSON
    rq_web.Job, rq_web.Worker = KnownJob, _JsonWorker
    app.redis_conn = app.extensions["engine"].redis
    app.config["RQ_DASHBOARD_REDIS_URL"] = ["redis"]
    app.config["RQ_DASHBOARD_DISABLE_DELETE"] = True
    app.register_blueprint(rq_web.blueprint, url_prefix="/operator/rq")


def _guard() -> wrappers.Response | None:
    """Nobody else learns that the dashboard is there."""
    if not current_user.is_authenticated:
        return redirect(url_for("account.login", next=links.here()))
    if not current_user.operator:
        raise NotFound
    if request.method not in {"GET", "HEAD"} or request.endpoint not in _LOOKING:
        raise MethodNotAllowed
    if (request.view_args or {}).get("instance_number", 0) != 0:
        raise NotFound
    return None


def _relax(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = _POLICY
    return answer


def _no_such_job(_error: Exception) -> errors.Answer:
    return errors.page(404, "That job is no longer in Redis.")


def _no_job_of_ours(_error: ValueError) -> errors.Answer:
    return errors.page(422, "That is no job of BitQueue: somebody else wrote it into Redis.")


def _redis_away(_error: Exception) -> errors.Answer:
    return errors.page(503, "Redis does not answer. Work goes on without it, a little later than usual.")


# Its own step before a request makes a Redis client each time.
rq_web.blueprint.before_request_funcs.clear()
rq_web.blueprint.before_request(_guard)
rq_web.blueprint.after_request(_relax)
rq_web.blueprint.register_error_handler(rq_web.NoSuchJobError, _no_such_job)
rq_web.blueprint.register_error_handler(ValueError, _no_job_of_ours)
rq_web.blueprint.register_error_handler(rq_web.RedisConnectionError, _redis_away)
