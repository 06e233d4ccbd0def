"""Row ids: a prefix that names the noun, then 26 characters that sort by time (as in ULID)."""

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new(prefix: str) -> str:
    """`tsk_01kan…`: 48 bits of milliseconds and 80 random bits, Crockford base 32."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return prefix + "_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
