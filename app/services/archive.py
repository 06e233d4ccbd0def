"""A backup's file: one compressed tar with a manifest, the database, and the keys under a passphrase."""

import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import InvalidError
from app.services.tallies import Tally

FORMAT = 1
KEYS = "keys.json"
DATABASE = {"sqlite": "database.sqlite", "postgresql": "database.dump"}
_MANIFEST = "manifest.json"
_MANIFEST_BYTES = 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
# Rows of JSON are a fifth of their size then, and the disk remains the slower part.
_COMPRESSION = 1
_UNREADABLE = (tarfile.TarError, EOFError, zlib.error, OSError)


class Member(BaseModel):
    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What the file holds. The revision is Alembic's; `tables` are as they were when the copy was made."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    product: Literal["bitqueue"] = "bitqueue"
    version: str
    revision: str
    database: Literal["sqlite", "postgresql"]
    created_at: datetime
    tables: dict[str, Tally]
    members: dict[str, Member]

    @property
    def database_name(self) -> str:
        return DATABASE[self.database]


def describe(path: Path) -> Member:
    with path.open("rb") as file:
        return _copy(file, lambda _chunk: None)


def write(path: Path, manifest: Manifest, folder: Path) -> None:
    """Pack the members, which lie in `folder` under their names; on disk when it returns."""
    text = manifest.model_dump_json(indent=1).encode()
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=_COMPRESSION) as tar:
            tar.addfile(_entry(manifest, _MANIFEST, len(text)), io.BytesIO(text))
            for name, member in manifest.members.items():
                with (folder / name).open("rb") as body:
                    tar.addfile(_entry(manifest, name, member.bytes), body)
        file.flush()
        os.fsync(file.fileno())


def _entry(manifest: Manifest, name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(manifest.created_at.timestamp())
    return info


def read_manifest(path: Path) -> Manifest:
    """Raises InvalidError for a file that is no backup, is damaged, or was made by a newer version."""
    with _opened(path) as tar:
        return _manifest(tar, path)


def read_keys(path: Path) -> tuple[Manifest, str]:
    """The manifest and the sealed keys, which stand in front of the database. Raises InvalidError."""
    with _opened(path) as tar:
        manifest = _manifest(tar, path)
        info = tar.next()
        if info is None or info.name != KEYS or info.size > _MANIFEST_BYTES:
            raise InvalidError(f"{path} was changed: the keys are not where they belong")
        body = tar.extractfile(info)
        return manifest, body.read().decode("ascii", "replace") if body else ""


def unpack(path: Path, folder: Path) -> Manifest:
    """Put every member into `folder`. Raises InvalidError unless all are there and unchanged."""
    with _opened(path) as tar:
        manifest = _manifest(tar, path)
        left = dict(manifest.members)
        for info in tar:
            if info.name == _MANIFEST:
                continue
            expected = left.pop(info.name, None)
            if expected is None or not info.isreg() or info.size != expected.bytes:
                raise InvalidError(f"{path} was changed: {info.name[:80]} is not what its manifest says")
            _unpack_one(tar, info, folder / info.name, expected)
    if left:
        raise InvalidError(f"{path} is incomplete: {min(left)} is missing; use another backup")
    return manifest


def _unpack_one(tar: tarfile.TarFile, info: tarfile.TarInfo, target: Path, expected: Member) -> None:
    body = tar.extractfile(info)
    assert body is not None
    with target.open("xb") as out:
        found = _copy(body, out.write)
    if found != expected:
        raise InvalidError(f"{info.name} in the backup is damaged: its checksum differs; use another backup")


def _copy(body: IO[bytes], to: Callable[[bytes], object]) -> Member:
    digest, size = hashlib.sha256(), 0
    while chunk := body.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        to(chunk)
    return Member(bytes=size, sha256=digest.hexdigest())


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    if not path.is_file():
        raise InvalidError(f"there is no file {path}")
    try:
        with tarfile.open(path, "r:gz") as tar:
            yield tar
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's, not the file's
        raise InvalidError(f"{path} cannot be read as a backup ({error}); use another one") from error


def _manifest(tar: tarfile.TarFile, path: Path) -> Manifest:
    info = tar.next()
    body = tar.extractfile(info) if info and info.name == _MANIFEST and info.isreg() else None
    if body is None:
        raise InvalidError(f"{path} is no backup of bitqueue")
    text = body.read(_MANIFEST_BYTES)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise InvalidError(f"{path} is no backup that this version can read") from error
    if manifest.format > FORMAT:
        raise InvalidError(
            f"{path} was made by a newer bitqueue ({manifest.version}); restore it with that one"
        )
    if set(manifest.members) != {KEYS, manifest.database_name}:
        raise InvalidError(f"{path} was changed: its manifest names other parts than a backup has")
    return manifest
