"""Files over the API: bringing one in for a task's params, and taking one out of an output."""

from collections.abc import Iterator
from typing import Any

import gevent
from flask import Response, request
from pydantic import Field

from app.api.edge import noun, operation
from app.api.fields import Body, Shown, Text
from app.api.problems import SlowError, UnreadableError
from app.database import db
from app.engine import core
from app.errors import InvalidError, TooLargeError
from app.models import Role
from app.sdk.context import MAX_FILE_BYTES, FileRef
from app.services import downloads, files
from app.services.access import Actor

blueprint = noun("files", __name__)

_READ_BYTES = 256 * 1024
# Boundaries and the headers of the parts.
_AROUND_BYTES = 64 * 1024
_UPLOAD_S = 300
_MOST_PARTS = 10


class FileOut(Shown):
    """Give `id`, or all of it, where an action's params take a file. It is kept for 30 days."""

    id: str
    name: str
    type: str
    bytes: int
    sha256: str


class UploadQuery(Body):
    name: Text | None = Field(
        None, min_length=1, description="the file's name, where the body is its content"
    )


@blueprint.post("/files")
@operation(Role.EDITOR, tag="files", query=UploadQuery, answers=FileOut, status=201)
def upload(actor: Actor, query: UploadQuery) -> FileOut:
    """Store a file of up to 25 MB: a form (`multipart/form-data`) with one file, or its content and `?name=`."""
    _refuse_by_length()
    # One more than is allowed: what is cut at the limit cannot be told from what is whole.
    request.max_content_length = MAX_FILE_BYTES + _AROUND_BYTES + 1
    request.max_form_parts = _MOST_PARTS
    try:
        with gevent.Timeout(_UPLOAD_S, SlowError("the body came too slowly; send it again")):
            name, media_type, chunks = _form() if request.mimetype == "multipart/form-data" else _raw(query)
            return _out(files.store(core.current(), actor, chunks, name=name, media_type=media_type))
    finally:
        # What a form brought lies in temporary files.
        request.close()


@blueprint.get("/files/<file_id>")
@operation(Role.VIEWER, tag="files")
def get(actor: Actor, file_id: str) -> Response:
    """The content of a file, with its name and type in the headers."""
    file = files.get(db.session(), actor, file_id)
    return Response(files.content(core.current(), actor, file), headers=dict(downloads.headers(file)))


def _refuse_by_length() -> None:
    if (request.content_length or 0) > MAX_FILE_BYTES + _AROUND_BYTES:
        raise TooLargeError(f"a file may have {MAX_FILE_BYTES // 1024**2} MB at most")


def _form() -> tuple[str, str, Iterator[bytes]]:
    given = [file for _, file in request.files.items(multi=True)]
    if len(given) != 1:
        raise InvalidError("the form must hold one file, under any name")
    file = given[0]
    return file.filename or "file", file.mimetype or "application/octet-stream", _pieces(file.stream)


def _raw(query: UploadQuery) -> tuple[str, str, Iterator[bytes]]:
    if not query.name:
        raise InvalidError("name the file: ?name=orders.csv", {"name": "is needed"})
    return query.name, request.mimetype or "application/octet-stream", _whole(request.stream)


def _whole(stream: Any) -> Iterator[bytes]:
    got = 0
    for piece in _pieces(stream):
        got += len(piece)
        yield piece
    if request.content_length is not None and got < request.content_length:
        raise UnreadableError("the body ended before its Content-Length; send it again")


def _pieces(stream: Any) -> Iterator[bytes]:
    while piece := stream.read(_READ_BYTES):
        yield piece


def _out(file: FileRef) -> FileOut:
    return FileOut(**file.model_dump())
