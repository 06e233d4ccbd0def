"""Stored files: reading one and bringing one in."""

from collections.abc import Iterable, Iterator

from sqlalchemy.orm import Session

from app import clock
from app.engine.core import Engine
from app.engine.files import FileStore
from app.errors import NotFoundError, TooLargeError
from app.models import File
from app.sdk.context import FileRef
from app.sdk.errors import RejectedError
from app.services.access import Actor, fetch


def get(session: Session, actor: Actor, file_id: str) -> FileRef:
    """Raises NotFoundError; what has expired is gone, also before it is swept."""
    row = fetch(session, File, file_id, actor)
    if row.expires_at <= clock.now():
        raise NotFoundError(f"no file {file_id[:40]} here any more; run the step that made it again")
    return FileRef(id=row.id, name=row.name, type=row.media_type, bytes=row.bytes, sha256=row.sha256)


def content(engine: Engine, actor: Actor, file: FileRef) -> Iterator[bytes]:
    """In chunks; outside of the session, so that a slow reader holds nothing."""
    return FileStore(engine.database, engine.writer, actor.workspace_id).open(file)


def store(engine: Engine, actor: Actor, chunks: Iterable[bytes], *, name: str, media_type: str) -> FileRef:
    """Kept for 30 days. Raises TooLargeError over 25 MB."""
    try:
        return FileStore(engine.database, engine.writer, actor.workspace_id).save(name, media_type, chunks)
    except RejectedError as error:
        raise TooLargeError(str(error)) from None
