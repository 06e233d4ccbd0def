"""What backup and restore share with the person at the terminal: the passphrase, refusals, tables of figures."""

import getpass
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from sqlalchemy.exc import DBAPIError

from app.config import ConfigError
from app.errors import BitQueueError

PASSPHRASE = "BITQUEUE_BACKUP_PASSPHRASE"  # noqa: S105 (a variable's name)
_SHORT = 12


def read_passphrase(environ: Mapping[str, str], *, stdin: bool, new: bool) -> str:
    """From standard input, the environment, or asked for; twice where it is a new one."""
    words = sys.stdin.readline().rstrip("\r\n") if stdin else environ.get(PASSPHRASE) or _asked(new=new)
    if not words:
        refuse("the passphrase is empty; the keys of a backup are sealed with one")
    if new and len(words) < _SHORT:
        print(
            f"the passphrase is short: with {_SHORT} characters or more it is hard to guess", file=sys.stderr
        )
    return words


def _asked(*, new: bool) -> str:
    if not sys.stdin.isatty():
        refuse(f"there is no terminal to ask for the passphrase; set {PASSPHRASE} or give --passphrase-stdin")
    words = getpass.getpass("Passphrase of the backup: ")
    if new and words != getpass.getpass("The same again: "):
        refuse("the two are not the same; nothing was written")
    return words


def refuse(*sentences: str) -> NoReturn:
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    sys.exit(1)


def plainly(main: Callable[[], None]) -> None:
    """Run it; what is refused is one sentence and exit code 1. What it began is tidied away when it is ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except ConfigError as error:
        refuse(*error.sentences)
    except BitQueueError as error:
        refuse(str(error))
    except DBAPIError as error:
        refuse(f"the database cannot be used ({str(error.orig).strip().partition(chr(10))[0]})")
    except OSError as error:
        refuse(f"{error.filename or 'the disk'}: {str(error.strerror or error).lower()}")
    except KeyboardInterrupt:
        refuse("stopped; nothing was written")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Columns side by side; all but the first to the right."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        cells = [
            first.ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)),
        ]
        print("  ".join(cells).rstrip())


def size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
