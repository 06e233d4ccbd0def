"""Whether an SQLite file stands at the newest migration, told without loading the application."""

import ast
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path


def is_current(database: Path, versions: Path) -> bool:
    """False also when the file cannot be read: the migration then says why."""
    heads = _heads(versions)
    return bool(heads) and database.is_file() and _stamped(database) == heads


def _stamped(database: Path) -> set[str]:
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            return {name for (name,) in connection.execute("SELECT version_num FROM alembic_version")}
    except sqlite3.Error:
        return set()


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
