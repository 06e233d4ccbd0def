"""The address of a rule: one call is one event, on disk before it is answered."""

from flask import Blueprint, Response, request

from app import clock
from app.api.edge import answer, public, read_body
from app.engine import core
from app.extensions import limiter
from app.sdk.declare import InboundRequest, Reply
from app.services import hooks

blueprint = Blueprint("v1_hooks", __name__)

BODY_BYTES = 5 * 1024 * 1024
# Our own http action sends it, so that a rule which calls itself is stopped.
DEPTH_HEADER = "X-BitQueue-Depth"
_DEEPEST = 1000
_LONGEST_TOKEN = 200


@limiter.request_filter
def _is_unlimited() -> bool:
    """Whoever knows the address may call as often as the rule is worth; what is too much waits in its queue."""
    return request.blueprint == blueprint.name


@blueprint.route("/hooks/<token>", methods=["POST", "PUT", "GET"])
@public
def receive(token: str) -> Response:
    """Start a rule."""
    engine = core.current()
    inbound = InboundRequest(
        method=request.method,
        headers={name.lower(): value for name, value in request.headers.items()},
        query=request.args.to_dict(),
        body=read_body(BODY_BYTES),
        received_at=clock.now(),
        url=_url(engine.config.public_url),
    )
    got = hooks.receive(engine, token[:_LONGEST_TOKEN], inbound, depth=_depth())
    if isinstance(got, Reply):
        return Response(got.body, content_type=got.content_type)
    return answer({"event": got.event_id, "duplicate": got.duplicate}, 202)


def _url(public_url: str) -> str:
    """As the operator published it: what the caller says about host and scheme may be anything."""
    query = request.query_string.decode("latin-1")
    return f"{public_url}{request.path}" + (f"?{query}" if query else "")


def _depth() -> int:
    text = request.headers.get(DEPTH_HEADER, "")
    return min(int(text), _DEEPEST) if text.isascii() and text.isdigit() and len(text) < 6 else 0
