"""Random texts that open something: made once, kept as a hash."""

import hashlib
import secrets

_BYTES = 24  # 192 bits


def new(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(_BYTES)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
