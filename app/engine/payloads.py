"""Large values live beside the row: over 64 KB of JSON they are stored once and referred to by id."""

import json
from typing import Any

import sqlalchemy as sa

from app import clock, ids
from app.models import Payload
from app.sdk import jsonvalues

INLINE_BYTES = 64 * 1024


def store(connection: sa.Connection, workspace_id: str, value: Any) -> tuple[Any, str | None]:
    """(inline value, None) or (None, id of the payload)."""
    text = jsonvalues.dumps(value)
    if len(text) <= INLINE_BYTES:
        return value, None
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


def load(connection: sa.Connection, value: Any, payload_id: str | None) -> Any:
    """The value, wherever it lives."""
    if payload_id is None:
        return value
    body = connection.scalar(sa.select(Payload.body).where(Payload.id == payload_id))
    return None if body is None else json.loads(body)
