"""One at a time within this process: for what is read, changed and written back as a whole."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakValueDictionary

from app.sdk.errors import TemporaryError

_WAIT_S: Final = 40.0


class _Turn:
    """A lock that is forgotten when nobody holds it or waits for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


_turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
_making = threading.Lock()


@contextmanager
def turn(thing: str, *, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Waits until nobody else in this process is at `thing`; raises TemporaryError when that takes too long."""
    with _making:
        found = _turns.setdefault(thing, _Turn())
    if not found.lock.acquire(timeout=wait_s):
        raise TemporaryError("too many steps change this file at once; later", sent=False)
    try:
        yield
    finally:
        found.lock.release()
