"""Row ids: a prefix that names the noun, then 26 characters that sort by time (as in ULID)."""

import os
import threading
import time
from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 80
_lock = threading.Lock()
_last = 0


def new(prefix: str) -> str:
    """`tsk_01kan…`: 48 bits of milliseconds and 80 random bits, Crockford base 32.

    Within a process each is greater than the one before, also in the same millisecond.
    """
    return _spelled(prefix, _next())


def least(prefix: str, instant: datetime) -> str:
    """No id that is made from `instant` on sorts before this one."""
    return _spelled(prefix, int(instant.timestamp() * 1000) << _RANDOM_BITS)


def _spelled(prefix: str, number: int) -> str:
    return prefix + "_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def _next() -> int:
    global _last  # noqa: PLW0603 (the order of one process's ids is this module's to keep)
    number = (time.time_ns() // 1_000_000) << _RANDOM_BITS | int.from_bytes(os.urandom(10), "big")
    with _lock:
        if number >> _RANDOM_BITS == _last >> _RANDOM_BITS:
            # Later than the last, by a step too large to guess the next id from this one.
            number = _last + int.from_bytes(os.urandom(8), "big") + 1
        _last = number
    return number
