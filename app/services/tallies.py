"""How many rows each table has, and a checksum over them: whether two databases hold the same."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

# Stamped last when a backup is restored, and named in its manifest.
REVISION_TABLE = "alembic_version"
# Of chunks with a quarter of a megabyte, too, this many fit into memory.
_AT_ONCE = 50
_MODULUS = 1 << 256


@dataclass(frozen=True, slots=True)
class Tally:
    rows: int
    # The sum of the rows' SHA-256, so that their order, which databases sort differently, does not count.
    checksum: str


def take(connection: sa.Connection) -> dict[str, Tally]:
    """Of every table but Alembic's own, as the caller's transaction sees them."""
    names = sorted(set(sa.inspect(connection).get_table_names()) - {REVISION_TABLE})
    return {name: _tally(connection, name) for name in names}


def _tally(connection: sa.Connection, name: str) -> Tally:
    streamed = connection.execution_options(yield_per=_AT_ONCE)
    count, total = 0, 0
    for row in streamed.execute(sa.select(sa.text("*")).select_from(sa.table(name))):
        count += 1
        total += int.from_bytes(hashlib.sha256(_encode(row)).digest())
    return Tally(count, f"{total % _MODULUS:064x}")


def _encode(row: sa.Row[Any]) -> bytes:
    return json.dumps(list(row), default=_as_hex, separators=(",", ":")).encode()


def _as_hex(value: Any) -> dict[str, str]:
    return {"bytes": bytes(value).hex()}
