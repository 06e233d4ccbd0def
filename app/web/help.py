"""Help: how BitQueue thinks, on one page, and a manual of each integration."""

from flask import Blueprint, render_template, request

from app.engine import core
from app.errors import NotFoundError
from app.models import Role
from app.web import manuals
from app.web.access import allow

blueprint = Blueprint("help", __name__)

_LONGEST_SEARCH = 100


@blueprint.get("/help")
@allow(Role.VIEWER)
def index() -> str:
    return render_template("help/index.html")


@blueprint.get("/help/integrations")
@allow(Role.VIEWER)
def integrations() -> str:
    wanted = request.args.get("text", "").strip()[:_LONGEST_SEARCH]
    found = manuals.cards(core.current().catalogue, wanted)
    return render_template("help/integrations.html", integrations=found, wanted=wanted)


@blueprint.get("/help/integrations/<key>")
@allow(Role.VIEWER)
def integration(key: str) -> str:
    found = core.current().catalogue.integrations.get(key)
    if found is None:
        raise NotFoundError(f"there is no integration {key[:40]} here")
    return render_template("help/integration.html", integration=manuals.manual(found))
