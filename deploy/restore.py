"""`./run restore FILE`: a backup into an empty home or an empty PostgreSQL database; outgoing work is held."""

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from app.config import CHECKOUT, Config, environment, make_home
from app.errors import ConflictError
from app.services import restore
from app.services.archive import Manifest
from app.services.backup import KEY_NAMES
from app.services.restore import Checked
from deploy import terminal
from deploy.places import without_keys
from deploy.supervise import lock


def main() -> None:
    asked = _arguments()
    file, given = Path(asked.file).expanduser().absolute(), environment()
    began_s = time.monotonic()
    restore.refuse_missing(file)
    words = terminal.read_passphrase(given, stdin=asked.passphrase_stdin, new=False)
    manifest, keys = restore.open_keys(file, words)
    if asked.check:
        _report(restore.check(file))
        print(f"{file} is whole, and the passphrase opens its keys; nothing was changed")
        return
    config = _settings(given, keys)
    make_home(config.bitqueue_home)
    with lock(config.bitqueue_home):
        restore.refuse_unfit(config, manifest)
        # First: a database without its keys would be of no use.
        kept = _keep(config, given, keys)
        restored = restore.into(config, file, verify=asked.verify)
    _report(restored)
    _say(config, manifest, kept, time.monotonic() - began_s)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run restore", description=__doc__)
    parser.add_argument("file", metavar="FILE", help="what ./run backup wrote")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--verify", action="store_true", help="restore, and compare every table with the backup's checksums"
    )
    how.add_argument(
        "--check", action="store_true", help="only look whether the file is whole; restore nothing"
    )
    parser.add_argument(
        "--passphrase-stdin", action="store_true", help="read the passphrase from standard input"
    )
    return parser.parse_args()


def _settings(given: Mapping[str, str], keys: Mapping[str, str]) -> Config:
    """The backup's keys where there are none yet. Raises ConflictError where others are set."""
    place = without_keys(given)
    kept = dotenv_values(place.bitqueue_home / "keys.env") if place.is_sqlite else {}
    there = {name: value for name, value in {**kept, **given}.items() if value}
    config = Config.load({**keys, **there})
    ours = Config.load({**there, **keys}).sealing_keys
    if missing := [key for key, secret in ours.items() if config.sealing_keys.get(key) != secret]:
        where = (
            "CREDENTIAL_KEYS is set"
            if given.get("CREDENTIAL_KEYS")
            else f"{place.bitqueue_home}/keys.env is there"
        )
        raise ConflictError(
            f"{where}, without the key {missing[0]} that this backup needs; unset it or move it away, "
            "and the backup's own keys are kept"
        )
    return config


def _keep(config: Config, given: Mapping[str, str], keys: Mapping[str, str]) -> Path | None:
    if all(given.get(name) for name in KEY_NAMES):
        return None
    return restore.keep_keys(config.bitqueue_home, keys)


def _report(checked: Checked) -> None:
    rows = [
        (name, f"{there.rows:,}", "not compared" if checked.tables is None else "equal")
        for name, there in checked.manifest.tables.items()
    ]
    terminal.table(("table", "rows", "checksum"), rows)


def _say(config: Config, manifest: Manifest, kept: Path | None, took_s: float) -> None:
    print(f"the backup of {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC is restored, in {took_s:.1f} s")
    if kept:
        print(f"its keys are in {kept}; keep a copy apart from the database")
    if kept and not config.is_sqlite:
        print(
            "beside PostgreSQL every process needs them set: SECRET_KEY and CREDENTIAL_KEYS as they stand there"
        )
    print("outgoing work is held: start BitQueue, look, and let it go on from the banner or by")
    print("    ./run cli release-hold")


if __name__ == "__main__":
    os.chdir(os.environ.get("BITQUEUE_CALLED_FROM", CHECKOUT))
    terminal.plainly(main)
