"""Passwords: hashed with argon2id, checked in the same time whether or not the person exists."""

from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import InvalidError

MIN_LENGTH = 10
# Longer ones are refused, not cut: hashing megabytes would be a way to keep the server busy.
MAX_LENGTH = 256
# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
_TIME, _MEMORY_KIB, _LANES = 2, 19_456, 1


class Passwords:
    """Hashes and checks with one set of costs."""

    def __init__(self, *, time: int = _TIME, memory_kib: int = _MEMORY_KIB, lanes: int = _LANES) -> None:
        self._hasher = PasswordHasher(time_cost=time, memory_cost=memory_kib, parallelism=lanes)

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash("a person who does not exist")

    def hash(self, password: str) -> str:
        """Raises InvalidError for one that is too short or too long. Takes tens of milliseconds."""
        check_length(password)
        return self._hasher.hash(_bytes(password))

    def fits(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is right; `None` takes as long and is never right."""
        if len(password) > MAX_LENGTH:
            return False
        try:
            self._hasher.verify(password_hash or self._nobody, _bytes(password))
        except (VerificationError, InvalidHashError):
            return False
        return password_hash is not None

    def is_stale(self, password_hash: str) -> bool:
        """Whether it was made with other costs than today's."""
        return self._hasher.check_needs_rehash(password_hash)


def check_length(password: str) -> None:
    if len(password) < MIN_LENGTH:
        sentence = f"needs at least {MIN_LENGTH} characters"
        raise InvalidError(f"the password {sentence}", {"password": sentence})
    if len(password) > MAX_LENGTH:
        sentence = f"may have at most {MAX_LENGTH} characters"
        raise InvalidError(f"the password {sentence}", {"password": sentence})


def _bytes(password: str) -> bytes:
    # A lone surrogate from a hostile form has no UTF-8; it is a character like any other here.
    return password.encode("utf-8", "surrogatepass")
