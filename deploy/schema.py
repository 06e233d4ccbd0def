"""Whether an SQLite file is whole and at the newest migration, told without loading the application."""

import ast
import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

# So long a start may look into the file; a larger one is looked at in part, and whole at each upgrade and backup.
_LOOK_S = 0.5
_INSTRUCTIONS = 10_000


def is_current(database: Path, versions: Path) -> bool:
    """False also when anything about the file is wrong: the migration then says what."""
    heads = _heads(versions)
    if not heads or not database.is_file() or not _writable(database):
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            return (
                _stamped(connection) == heads
                and _made(versions) <= _tables(connection)
                and _whole(connection)
            )
    except sqlite3.Error:
        return False


def _writable(database: Path) -> bool:
    # SQLite makes its log beside the file.
    return all(os.access(path, os.W_OK, effective_ids=True) for path in (database, database.parent))


def _stamped(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT version_num FROM alembic_version")}


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _made(versions: Path) -> set[str]:
    """Tables that the revisions create; one that a later revision drops only costs the quick answer."""
    return {
        name
        for path in versions.glob("*.py")
        for name in re.findall(r'create_table\(\s*"(\w+)"', path.read_text())
    }


def _whole(connection: sqlite3.Connection) -> bool:
    """False when damage is found in the time there is."""
    leave_at = time.monotonic() + _LOOK_S
    connection.set_progress_handler(lambda: time.monotonic() > leave_at, _INSTRUCTIONS)
    try:
        return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.OperationalError as error:
        return "interrupted" in str(error)


def _heads(versions: Path) -> set[str]:
    found = [dict(_constants(path)) for path in versions.glob("*.py")]
    parents = {parent for constants in found for parent in constants.get("down_revision", ())}
    return {name for constants in found for name in constants.get("revision", ())} - parents


def _constants(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id in {"revision", "down_revision"}:
            value = ast.literal_eval(node.value)
            yield target.id, (value,) if isinstance(value, str) else tuple(value or ())
