"""Downloading a stored file."""

from flask import Blueprint, Response

from app.database import db
from app.engine import core
from app.models import Role
from app.services import downloads, files
from app.web.access import allow, current_actor

blueprint = Blueprint("files", __name__)


@blueprint.get("/files/<file_id>")
@allow(Role.VIEWER)
def download(file_id: str) -> Response:
    actor = current_actor()
    file = files.get(db.session(), actor, file_id)
    return Response(files.content(core.current(), actor, file), headers=dict(downloads.headers(file)))
