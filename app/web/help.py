"""Help: how BitQueue thinks, on one page."""

from flask import Blueprint, render_template

from app.models import Role
from app.web.access import allow

blueprint = Blueprint("help", __name__)


@blueprint.get("/help")
@allow(Role.VIEWER)
def index() -> str:
    return render_template("help/index.html")
