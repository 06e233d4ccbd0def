"""Files by reference: streamed into chunks beside the rows, capped, and swept when they expire."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from app import clock, ids
from app.database import read_connection
from app.engine import weights
from app.engine.commit import GroupCommit
from app.engine.weights import Change
from app.models import File, FileChunk, Storage, Workspace
from app.models.storage import FILES
from app.sdk.context import MAX_FILE_BYTES, FileRef
from app.sdk.errors import RejectedError

CHUNK_BYTES = 256 * 1024
_MEDIA_TYPE = re.compile(r"[a-z]{2,20}/[a-z0-9][a-z0-9.+_-]{0,99}")
_KEPT_FOR = timedelta(days=30)
_PART_OF_BUDGET = 0.5
# Chunks of a file that was never finished.
_ABANDONED = timedelta(days=1)
_LONGEST_NAME = 200
# So that one batch holds the database for moments only: a chunk is a quarter of a megabyte.
_FILES_AT_ONCE = 20
_CHUNKS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class FileStore:
    """The files of one workspace; see `app.sdk.context.Files`."""

    database: sa.Engine
    writer: GroupCommit
    workspace_id: str

    def save(self, name: str, media_type: str, chunks: Iterable[bytes]) -> FileRef:
        life = self._room()
        file_id, digest, size = ids.new("fil"), hashlib.sha256(), 0
        for number, body in enumerate(_even(chunks)):
            size += len(body)
            if size > MAX_FILE_BYTES:
                raise RejectedError(
                    f"{name[:80]} is larger than {MAX_FILE_BYTES // 1024**2} MB, the most a file may have"
                )
            digest.update(body)
            row = {"file_id": file_id, "number": number, "body": body, "created_at": clock.now()}
            self.writer.submit(partial(_add_chunk, row=row))
        kind, sha256 = plain_type(media_type), digest.hexdigest()
        ref = FileRef(id=file_id, name=_plain(name), type=kind, bytes=size, sha256=sha256)
        self.writer.submit(lambda connection: _insert(connection, self.workspace_id, ref, life))
        return ref

    def _room(self) -> timedelta:
        """How long a file is kept here. Raises RejectedError when the workspace's files take their whole part."""
        with read_connection(self.database) as connection:
            row = connection.execute(_ROOM, {"place": self.workspace_id}).first()
        if row is None:
            return _KEPT_FOR
        if (row.bytes or 0) >= row.budget_bytes * _PART_OF_BUDGET:
            raise RejectedError(
                "the files of this workspace take half of its storage budget, the most they may; "
                "raise the budget in the settings or wait until some expire"
            )
        return _KEPT_FOR if row.keep_days is None else min(_KEPT_FOR, timedelta(days=row.keep_days))

    def find(self, file: FileRef) -> FileRef:
        with read_connection(self.database) as connection:
            row = connection.execute(
                sa.select(File.__table__).where(
                    File.id == file.id, File.workspace_id == self.workspace_id, File.expires_at > clock.now()
                )
            ).first()
        if row is None:
            raise RejectedError(
                f"the file {file.name or file.id} is not kept any more; run the step that made it again"
            )
        return FileRef(id=row.id, name=row.name, type=row.media_type, bytes=row.bytes, sha256=row.sha256)

    def open(self, file: FileRef) -> Iterator[bytes]:
        found = self.find(file)
        return self._chunks(found)

    def _chunks(self, file: FileRef) -> Iterator[bytes]:
        number = 0
        while (body := self._chunk(file.id, number)) is not None:
            yield body
            number += 1

    def _chunk(self, file_id: str, number: int) -> bytes | None:
        with read_connection(self.database) as connection:
            body: bytes | None = connection.scalar(
                sa.select(FileChunk.body).where(FileChunk.file_id == file_id, FileChunk.number == number)
            )
        return body


def _add_chunk(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(sa.insert(FileChunk), row)


def store(
    connection: sa.Connection, workspace_id: str, body: bytes, *, name: str, media_type: str
) -> FileRef:
    """A whole file at once, in the caller's transaction."""
    ref = FileRef(
        id=ids.new("fil"),
        name=name,
        type=media_type,
        bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
    )
    for number, chunk in enumerate(_even([body])):
        _add_chunk(
            connection, {"file_id": ref.id, "number": number, "body": chunk, "created_at": clock.now()}
        )
    _insert(connection, workspace_id, ref, _KEPT_FOR)
    return ref


def _insert(connection: sa.Connection, workspace_id: str, ref: FileRef, life: timedelta) -> None:
    now = clock.now()
    connection.execute(
        sa.insert(File),
        {
            "id": ref.id,
            "workspace_id": workspace_id,
            "name": ref.name,
            "media_type": ref.type,
            "bytes": ref.bytes,
            "sha256": ref.sha256,
            "created_at": now,
            "expires_at": now + life,
        },
    )
    weights.count(connection, [Change(workspace_id, FILES, 1, ref.bytes)])


def _even(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of CHUNK_BYTES; the last may be shorter."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES])
            del held[:CHUNK_BYTES]
    if held:
        yield bytes(held)


def _plain(name: str) -> str:
    """A name without a path or control characters: it may come from a stranger's mail."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(char for char in last if char.isprintable()).strip(". ")
    return plain.encode("utf-8", "replace").decode()[:_LONGEST_NAME] or "file"


def plain_type(media_type: str) -> str:
    """Without parameters; a stranger's mail may claim anything, also what no column and no header takes."""
    kind = media_type.partition(";")[0].strip().lower()
    return kind if _MEDIA_TYPE.fullmatch(kind) else "application/octet-stream"


def sweep(connection: sa.Connection, now: datetime) -> int:
    """Delete some of what has expired, chunks before their file; how many rows."""
    expired = sa.select(File.id).where(File.expires_at < now).order_by(File.expires_at).limit(_FILES_AT_ONCE)
    file_ids = list(connection.scalars(expired))
    return _delete_chunks(connection, FileChunk.file_id.in_(file_ids)) + _delete_empty(connection, file_ids)


def sweep_abandoned(connection: sa.Connection, now: datetime) -> int:
    """Delete some chunks of files that were never finished, or whose workspace is gone; how many."""
    return _delete_chunks(
        connection,
        FileChunk.created_at < now - _ABANDONED,
        ~sa.exists().where(File.id == FileChunk.file_id),
    )


def _delete_chunks(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> int:
    key = sa.tuple_(FileChunk.file_id, FileChunk.number)
    some = sa.select(FileChunk.file_id, FileChunk.number).where(*which).limit(_CHUNKS_AT_ONCE)
    return connection.execute(sa.delete(FileChunk).where(key.in_(some))).rowcount


def _delete_empty(connection: sa.Connection, file_ids: list[str]) -> int:
    has_chunks = sa.exists().where(FileChunk.file_id == File.id)
    gone = connection.execute(
        sa.delete(File).where(File.id.in_(file_ids), ~has_chunks).returning(File.workspace_id, File.bytes)
    ).all()
    weights.count(connection, [Change(row.workspace_id, FILES, -1, -row.bytes) for row in gone])
    return len(gone)


_ROOM = (
    sa.select(Workspace.keep_days, Workspace.budget_bytes, Storage.bytes)
    .outerjoin(Storage, sa.and_(Storage.workspace_id == Workspace.id, Storage.subject_id == FILES))
    .where(Workspace.id == sa.bindparam("place"))
)
