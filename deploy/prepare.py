"""What must be true before a process starts: settings that hold, a home, keys, a migrated database."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from app import config
from deploy.children import tie_to
from deploy.schema import is_current

BIN = Path(sys.executable).parent
RELEASE = (str(BIN / "flask"), "--app", "wsgi", "release")


def read_settings() -> config.Config:
    """The settings, with a home and keys that are there; otherwise the process ends, having said why."""
    os.environ.update(config.environment())
    try:
        # The keys are not put into the environment: a child reads them where they are kept.
        settings = config.Config.load(config.with_kept_keys(os.environ))
        config.make_home(settings.bitqueue_home)
    except config.ConfigError as error:
        stop(*error.sentences)
    except OSError as error:
        stop(f"{error.filename or 'BITQUEUE_HOME'}: {str(error.strerror).lower()}; make it writable")
    return settings


def migrate(settings: config.Config) -> None:
    """Bring the database up to date, or end the process when that fails."""
    # Loading the application takes most of a start: an SQLite file that is up to date is told without it.
    file = Path(settings.database_url.removeprefix("sqlite:///"))
    if settings.is_sqlite and is_current(file, config.CHECKOUT / "migrations" / "versions"):
        return
    tied = tie_to(os.getpid())
    # Standard input may hold a password meant for the command that comes after.
    done = subprocess.run(
        RELEASE,
        cwd=config.CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=tied,
        check=False,
    )
    if done.returncode:
        stop("the database could not be brought up to date; the lines above say why")


def stop(*sentences: str) -> NoReturn:
    """End with what a person must mend."""
    for sentence in sentences:
        print(f"bitqueue cannot start: {sentence}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    migrate(read_settings())
