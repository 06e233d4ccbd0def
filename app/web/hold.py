"""The page of a restored server: what waits, and the button that lets it go on."""

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from app.database import db, writing
from app.engine import core
from app.models import Role
from app.services import holds
from app.web.access import allow, current_actor

blueprint = Blueprint("hold", __name__)


@blueprint.get("/hold")
@allow(Role.VIEWER)
def index() -> str:
    return render_template("hold/index.html", hold=holds.standing(db.session(), current_actor()))


@blueprint.post("/hold/release")
@allow(Role.VIEWER)
def release() -> Response:
    with writing() as session:
        was_held = holds.release(session, current_actor())
    core.current().doorbell.ring()
    flash("Outgoing work goes on." if was_held else "Nothing was held.", "success")
    return redirect(url_for("home.index"))
