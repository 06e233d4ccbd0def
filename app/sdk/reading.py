"""What only reads, before anything is written: when it fails, nothing was done."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.sdk.errors import TemporaryError


@contextmanager
def reading() -> Iterator[None]:
    """A TemporaryError from in here lets even an action that may not be repeated be tried again."""
    try:
        yield
    except TemporaryError as error:
        error.sent = False
        raise
