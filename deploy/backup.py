"""`./run backup FILE`: database and keys into one file, while everything runs."""

import argparse
import os
import time
from pathlib import Path

from app import __version__
from app.config import CHECKOUT, Config, environment, with_kept_keys
from app.errors import NotFoundError
from app.services import backup
from app.services.archive import Manifest
from deploy import terminal
from deploy.places import without_keys


def main() -> None:
    asked = _arguments()
    file = Path(asked.file).expanduser().absolute()
    backup.refuse_taken(file)
    given = environment()
    config = _settings(given)
    words = terminal.read_passphrase(given, stdin=asked.passphrase_stdin, new=True)
    began_s = time.monotonic()
    manifest = backup.make(config, file, words, version=__version__)
    _report(file, manifest, time.monotonic() - began_s)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run backup", description=__doc__)
    parser.add_argument("file", metavar="FILE", help="a new file; an existing one is never overwritten")
    parser.add_argument(
        "--passphrase-stdin", action="store_true", help="read the passphrase from standard input"
    )
    return parser.parse_args()


def _settings(given: dict[str, str]) -> Config:
    """Raises NotFoundError without a database: loading the settings would make keys for an empty home."""
    place = without_keys(given)
    if place.is_sqlite and not backup.sqlite_file(place).is_file():
        raise NotFoundError(f"there is no database {backup.sqlite_file(place)}; is BITQUEUE_HOME right")
    return Config.load(with_kept_keys(given))


def _report(file: Path, manifest: Manifest, took_s: float) -> None:
    terminal.table(("table", "rows"), [(name, f"{found.rows:,}") for name, found in manifest.tables.items()])
    print(f"bitqueue {manifest.version}, {manifest.database}, revision {manifest.revision}")
    print(f"{file}: {terminal.size(file.stat().st_size)} in {took_s:.1f} s")
    print("keep the passphrase: without it nobody can open the keys in this file")


if __name__ == "__main__":
    os.chdir(os.environ.get("BITQUEUE_CALLED_FROM", CHECKOUT))
    terminal.plainly(main)
