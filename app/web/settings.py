"""The workspace's own settings, and who changed what in it."""

from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from app.database import db, writing
from app.errors import InvalidError
from app.models import Role
from app.services import settings
from app.web.access import allow, current_actor
from app.web.forms import WorkspaceForm

blueprint = Blueprint("settings", __name__)


@blueprint.get("/settings")
@allow(Role.ADMIN)
def index() -> str:
    workspace = settings.workspace(db.session(), current_actor())
    return _page(WorkspaceForm(formdata=None, name=workspace.name))


def _page(form: WorkspaceForm) -> str:
    return render_template(
        "settings/index.html",
        sections=[_section("workspace", "Workspace", "What its people see in the menu.", form)],
        deeds=settings.recent_deeds(db.session(), current_actor()),
    )


def _section(name: str, title: str, text: str, form: WorkspaceForm) -> dict[str, Any]:
    return {"name": name, "title": title, "text": text, "form": form}


@blueprint.post("/settings")
@allow(Role.ADMIN)
def save() -> str | Response | tuple[str, int]:
    form = WorkspaceForm()
    if not form.validate():
        return _page(form), 422
    try:
        with writing() as session:
            settings.rename(session, current_actor(), form.name.data)
    except InvalidError as error:
        form.refuse(error)
        return _page(form), error.status
    flash("Saved.", "success")
    return redirect(url_for("settings.index"))
