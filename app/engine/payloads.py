"""Large values live beside the row: over 64 KB of JSON they are stored once and referred to by id.

What is larger still becomes a file: nobody reads it on a page, and no process should hold many of them.
"""

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from app import clock, ids
from app.engine import files
from app.models import Payload
from app.sdk import jsonvalues
from app.sdk.context import MAX_FILE_BYTES

INLINE_BYTES = 64 * 1024
MAX_BYTES = 8 * 1024 * 1024


def store(
    connection: sa.Connection, workspace_id: str, value: Any, *, whole: bool = False
) -> tuple[Any, str | None]:
    """(inline value, None) or (None, id of the payload); `whole`: never as a file, whose content no rule sees."""
    text = jsonvalues.dumps(value)
    if len(text) <= INLINE_BYTES:
        return value, None
    if len(text) > MAX_BYTES and not whole:
        return _off_load(connection, workspace_id, text), None
    payload_id = ids.new("pay")
    connection.execute(
        sa.insert(Payload),
        {
            "id": payload_id,
            "workspace_id": workspace_id,
            "body": text,
            "bytes": len(text),
            "created_at": clock.now(),
        },
    )
    return None, payload_id


def _off_load(connection: sa.Connection, workspace_id: str, text: str) -> dict[str, Any]:
    """What stands in the value's place."""
    size = f"{len(text) / 1024**2:.1f} MB"
    if len(text) > MAX_FILE_BYTES:
        return {
            "too_large": f"this had {size} and was not kept; a value may have {MAX_FILE_BYTES // 1024**2} MB"
        }
    file = files.store(
        connection, workspace_id, text.encode(), name="value.json", media_type="application/json"
    )
    return {"too_large": f"this has {size} and was kept as a file", "file": file.model_dump()}


def load(connection: sa.Connection, value: Any, payload_id: str | None) -> Any:
    """The value, wherever it lives."""
    if payload_id is None:
        return value
    body = connection.scalar(sa.select(Payload.body).where(Payload.id == payload_id))
    return None if body is None else json.loads(body)


def forget(connection: sa.Connection, payload_ids: Iterable[str]) -> None:
    ids = list(payload_ids)
    if ids:
        connection.execute(sa.delete(Payload).where(Payload.id.in_(ids)))
