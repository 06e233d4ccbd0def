"""For load balancers and monitoring: alive, ready, figures."""

from dataclasses import asdict

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.auth import authenticate
from app.api.edge import answer, public
from app.engine import core
from app.services import health

blueprint = Blueprint("v1_health", __name__)


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
