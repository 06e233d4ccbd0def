"""Making a backup while everything runs: the database and the keys in one file."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from app import clock
from app.config import Config
from app.errors import ConflictError
from app.services import archive, copies, passphrase
from app.services.archive import Manifest

# The keys without which the database's secrets cannot be read, as they are named in the environment.
KEY_NAMES = ("SECRET_KEY", "CREDENTIAL_KEYS")


def make(config: Config, file: Path, words: str, *, version: str) -> Manifest:
    """Write `file`, whole or not at all; `words` seal the keys. Raises ConflictError where it exists."""
    refuse_taken(file)
    with TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as name:
        folder = Path(name)
        manifest = _collect(config, folder, words, version)
        draft = folder / "backup"
        archive.write(draft, manifest, folder)
        refuse_taken(file)
        draft.rename(file)
    flush_folder(file.parent)
    return manifest


def refuse_taken(file: Path) -> None:
    if file.exists() or file.is_symlink():
        raise ConflictError(f"{file} exists already; name a new file")
    if not file.parent.is_dir():
        raise ConflictError(f"there is no directory {file.parent}; make it or name another one")


def flush_folder(folder: Path) -> None:
    """A new name in it survives a power cut from now on."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _collect(config: Config, folder: Path, words: str, version: str) -> Manifest:
    began_at = clock.now()
    database = folder / archive.DATABASE["sqlite" if config.is_sqlite else "postgresql"]
    copied = (
        copies.take_sqlite(sqlite_file(config), database)
        if config.is_sqlite
        else copies.take_postgres(config.database_url, database)
    )
    whole = archive.describe(database)
    keys = folder / archive.KEYS
    # Bound to the database: with the passphrase it shows that nobody put another one in its place.
    keys.write_text(passphrase.seal(_keys(config), words, bound_to=whole.sha256))
    return Manifest(
        version=version,
        revision=copied.revision,
        database="sqlite" if config.is_sqlite else "postgresql",
        created_at=began_at,
        tables=copied.tables,
        # The keys first: whether the passphrase fits is known before the rest is read.
        members={archive.KEYS: archive.describe(keys), database.name: whole},
    )


def sqlite_file(config: Config) -> Path:
    return Path(sa.make_url(config.database_url).database or "")


def _keys(config: Config) -> bytes:
    values = (config.secret_key, config.credential_keys)
    return json.dumps(
        {name: value.get_secret_value() for name, value in zip(KEY_NAMES, values, strict=True)}
    ).encode()
