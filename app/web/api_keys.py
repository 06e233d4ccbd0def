"""Keys for programs: made, shown once, revoked."""

from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from app.database import db, writing
from app.engine import core
from app.errors import InvalidError
from app.models import ApiKey, Role
from app.services import api_keys
from app.web.access import allow, current_actor
from app.web.forms import ApiKeyForm

blueprint = Blueprint("api_keys", __name__)


@blueprint.get("/api-keys")
@allow(Role.EDITOR)
def index() -> str:
    return _page(ApiKeyForm(formdata=None))


def _page(form: ApiKeyForm, new_key: str | None = None) -> str:
    rows = api_keys.listing(db.session(), current_actor())
    return render_template(
        "api_keys/index.html",
        api_keys=[_shown(row) for row in rows if row.revoked_at is None],
        form=form,
        new_key=new_key,
        api_url=f"{core.current().config.public_url}/api/v1",
    )


def _shown(row: ApiKey) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "created_by": row.user.name or row.user.email,
        "created_at": row.created_at,
        "last_used_at": row.last_used_at,
        "can_revoke": row.user_id == current_actor().user_id or current_actor().role.covers(Role.ADMIN),
    }


@blueprint.post("/api-keys")
@allow(Role.EDITOR)
def create() -> str | tuple[str, int]:
    form = ApiKeyForm()
    if not form.validate():
        return _page(form), 422
    try:
        with writing() as session:
            read_only = form.scopes.data == "read"
            _, text = api_keys.create(session, current_actor(), form.name.data, read_only=read_only)
    except InvalidError as error:
        form.refuse(error)
        return _page(form), error.status
    return _page(ApiKeyForm(formdata=None), text)


@blueprint.post("/api-keys/<api_key_id>/revoke")
@allow(Role.EDITOR)
def revoke(api_key_id: str) -> Response:
    with writing() as session:
        api_keys.revoke(session, current_actor(), api_key_id)
    flash("The key is revoked.", "success")
    return redirect(url_for("api_keys.index"))
