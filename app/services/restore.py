"""Putting a backup back into an empty place, brought to this version, with its outgoing work held."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from dotenv import dotenv_values
from flask import Flask
from sqlalchemy.exc import DBAPIError

from app.config import Config
from app.database import db, init_database
from app.engine import hold
from app.errors import BitQueueError, ConflictError, InvalidError, UnavailableError
from app.services import archive, copies, passphrase, postgres, schema, tallies
from app.services.archive import Manifest
from app.services.backup import KEY_NAMES, flush_folder, sqlite_file
from app.services.tallies import Tally

_KEPT_HEAD = "# Restored from a backup. Without this file no saved connection can be opened: back it up."
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@dataclass(frozen=True, slots=True)
class Checked:
    """`tables`: what was found, or None where nothing was counted."""

    manifest: Manifest
    tables: Mapping[str, Tally] | None


def refuse_missing(file: Path) -> None:
    if not file.is_file():
        raise InvalidError(f"there is no file {file}")


def open_keys(file: Path, words: str) -> tuple[Manifest, dict[str, str]]:
    """The manifest, and the keys by their variables' names. Raises InvalidError."""
    manifest, sealed = archive.read_keys(file)
    database = manifest.members[manifest.database_name]
    found = json.loads(passphrase.unseal(sealed, words, bound_to=database.sha256))
    return manifest, {name: str(found[name]) for name in KEY_NAMES}


def check(file: Path) -> Checked:
    """Everything that can be told without a place to restore to; changes nothing. Raises InvalidError."""
    with TemporaryDirectory(prefix="bitqueue-check.") as name:
        manifest = archive.unpack(file, Path(name))
        database = Path(name) / manifest.database_name
        if manifest.database == "postgresql":
            postgres.check_dump(database)
            return Checked(manifest, None)
        copies.check_sqlite(database)
        return Checked(manifest, _compared(manifest, database))


def _compared(manifest: Manifest, database: Path) -> Mapping[str, Tally]:
    with copies.reading(database) as connection:
        return _same(manifest, tallies.take(connection))


def _same(manifest: Manifest, found: Mapping[str, Tally]) -> Mapping[str, Tally]:
    """Raises InvalidError where a table differs from the manifest."""
    names = set(manifest.tables) | set(found)
    different = sorted(name for name in names if manifest.tables.get(name) != found.get(name))
    if different:
        raise InvalidError(
            f"the tables {', '.join(different)} are not as they were backed up; use another backup"
        )
    return found


def refuse_unfit(config: Config, manifest: Manifest) -> None:
    """Raises ConflictError unless the place fits the backup and is empty, before anything is written."""
    if (manifest.database == "sqlite") is not config.is_sqlite:
        way = "unset DATABASE_URL" if manifest.database == "sqlite" else "set DATABASE_URL to an empty one"
        raise ConflictError(f"this is the backup of a {_NAMES[manifest.database]} database: {way}")
    if config.is_sqlite:
        _refuse_there(sqlite_file(config))
    else:
        _refuse_used(config.database_url)


def _refuse_there(file: Path) -> None:
    for path in (file, file.with_name(f"{file.name}-wal")):
        if path.exists():
            raise ConflictError(
                f"{path} is there: a backup is restored into an empty home only; "
                "set BITQUEUE_HOME to an empty directory, or move that file away"
            )


def _refuse_used(url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        others = connection.scalar(sa.text(_OTHERS))
    if tables:
        raise ConflictError(
            f"the database has tables ({tables[0]}, …): a backup is restored into an empty one only; "
            "make one with createdb and set DATABASE_URL to it"
        )
    if others:
        raise ConflictError(f"{others} other connections use the database; stop what uses it first")


_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


def into(config: Config, file: Path, *, verify: bool) -> Checked:
    """Restore; with `verify` also compare every table. All or nothing: what fails leaves the place empty."""
    return (
        _into_sqlite(config, file, verify=verify)
        if config.is_sqlite
        else _into_postgres(config, file, verify=verify)
    )


def _into_sqlite(config: Config, file: Path, *, verify: bool) -> Checked:
    target = sqlite_file(config)
    with TemporaryDirectory(prefix=".restore.", dir=target.parent) as name:
        manifest = archive.unpack(file, Path(name))
        draft = Path(name) / manifest.database_name
        copies.check_sqlite(draft)
        checked = Checked(manifest, _compared(manifest, draft) if verify else None)
        _bring_up(config, sa.create_engine(f"sqlite:///{draft}", poolclass=sa.NullPool), manifest)
        _flush(draft)
        draft.rename(target)
    flush_folder(target.parent)
    schema.remember(target, config.bitqueue_home)
    return checked


def _flush(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _into_postgres(config: Config, file: Path, *, verify: bool) -> Checked:
    engine = sa.create_engine(config.database_url, poolclass=sa.NullPool)
    with TemporaryDirectory(prefix=".restore.", dir=config.bitqueue_home) as name:
        manifest = archive.unpack(file, Path(name))
        postgres.restore(engine.url, Path(name) / manifest.database_name)
    try:
        with engine.connect() as connection:
            found = _same(manifest, tallies.take(connection)) if verify else None
        _bring_up(config, engine, manifest)
    except BaseException:
        postgres.empty(engine)
        raise
    return Checked(manifest, found)


def _bring_up(config: Config, database: sa.Engine, manifest: Manifest) -> None:
    """To this version and held, in one transaction: there is no moment in which a worker could send."""
    with migrations(config) as alembic:
        known = {script.revision for script in ScriptDirectory.from_config(alembic).walk_revisions()}
        if manifest.revision not in known:
            raise ConflictError(
                f"the backup was made by a newer bitqueue ({manifest.version}, revision {manifest.revision}); "
                "restore it with that version"
            )
        alembic.attributes.update(
            database=database,
            before=partial(_stamp, revision=manifest.revision),
            after=partial(hold.begin, backup_at=manifest.created_at),
        )
        try:
            command.upgrade(alembic, "head")
        except (DBAPIError, BitQueueError) as error:
            raise UnavailableError(f"the backup could not be brought to this version ({error})") from error


def _stamp(connection: sa.Connection, *, revision: str) -> None:
    """PostgreSQL's comes without one: until here no process takes the database for its own."""
    if not connection.scalar(sa.text("SELECT count(*) FROM alembic_version")):
        connection.execute(sa.text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})


@contextmanager
def migrations(config: Config) -> Iterator[AlembicConfig]:
    """Alembic, without the rest of the application."""
    app = Flask("bitqueue")
    init_database(app, config)
    schema.init_migrations(app)
    with app.app_context():
        try:
            yield schema.alembic_of(app)
        finally:
            db.engine.dispose()


def keep_keys(home: Path, keys: Mapping[str, str]) -> Path:
    """Write `keys.env` for the next start; one with these very keys stays. Raises ConflictError for another."""
    path = home / "keys.env"
    lines = [f"{name}='{_escaped(value)}'" for name, value in keys.items()]
    text = "\n".join([_KEPT_HEAD, *lines, ""])
    try:
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        if keys.items() <= dotenv_values(path).items():
            return path
        raise ConflictError(f"{path} is there with other keys; move it away") from None
    with os.fdopen(number, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return path


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
