"""For load balancers and monitoring: alive, ready, figures. And nothing new is taken where there is no room."""

from dataclasses import asdict

from flask import Blueprint, Response, request
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.auth import authenticate
from app.api.edge import answer, public
from app.api.problems import problem
from app.engine import core, disk
from app.errors import UnavailableError
from app.services import health

blueprint = Blueprint("v1_health", __name__)

_TAKES = ("/hooks/", "/enqueue", "/api/v1/")
# A hook is called by any method; of the API, what looks and what removes goes on.
_LOOKS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


@blueprint.before_app_request
def refuse_without_room() -> Response | None:
    """Before the disk is full: what runs could not end, and nothing could be removed any more."""
    if not request.path.startswith(_TAKES):
        return None
    if request.method in _LOOKS and not request.path.startswith("/hooks/"):
        return None
    try:
        disk.require_room(core.current().database)
    except UnavailableError as error:
        return problem(error.status, str(error))
    return None


@blueprint.get("/healthz")
@public
def alive() -> Response:
    """The process answers; says nothing about what it depends on."""
    return answer({"status": "ok"})


@blueprint.get("/readyz")
@public
def ready() -> Response:
    """503 when work should go elsewhere."""
    found = health.readiness(core.current())
    return answer(asdict(found), 200 if found.ready else 503)


@blueprint.get("/metrics")
@public
def metrics() -> Response:
    """In Prometheus' text form, with an operator's key."""
    text = health.metrics(core.current(), authenticate())
    return Response(text, content_type=CONTENT_TYPE_LATEST)
