"""Sealing under a passphrase: AES-256-GCM with a key that scrypt makes costly to guess."""

import base64
import os
from typing import Annotated

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import InvalidError

_SALT_BYTES = 16
_NONCE_BYTES = 12
_KEY_BYTES = 32
# OWASP's figures for 64 MB of memory (Password Storage Cheat Sheet, scrypt).
_COST, _BLOCK, _PARALLEL = 2**16, 8, 2

Bytes = Annotated[str, Field(max_length=100_000)]


class Sealed(BaseModel):
    """What is kept; its costs are part of it, so that they may grow. Bounded: they come from a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cost: int = Field(_COST, ge=2**14, le=2**20)
    block: int = Field(_BLOCK, ge=1, le=32)
    parallel: int = Field(_PARALLEL, ge=1, le=16)
    salt: Bytes
    nonce: Bytes
    text: Bytes


def seal(plain: bytes, passphrase: str, *, bound_to: str) -> str:
    """JSON that opens with the same passphrase and the same `bound_to` only."""
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    sealed = Sealed(salt=_text(salt), nonce=_text(nonce), text="")
    text = AESGCM(_key(sealed, passphrase)).encrypt(nonce, plain, bound_to.encode())
    return sealed.model_copy(update={"text": _text(text)}).model_dump_json()


def unseal(text: str, passphrase: str, *, bound_to: str) -> bytes:
    """Raises InvalidError."""
    try:
        sealed = Sealed.model_validate_json(text)
        aead = AESGCM(_key(sealed, passphrase))
        return aead.decrypt(_raw(sealed.nonce), _raw(sealed.text), bound_to.encode())
    except InvalidTag:
        raise InvalidError(
            "the passphrase does not open the keys of this backup; give the one that it was made with"
        ) from None
    except (ValidationError, ValueError) as error:
        raise InvalidError("the keys in this backup cannot be read; the file was changed") from error


def _key(sealed: Sealed, passphrase: str) -> bytes:
    derive = Scrypt(
        salt=_raw(sealed.salt), length=_KEY_BYTES, n=sealed.cost, r=sealed.block, p=sealed.parallel
    )
    return derive.derive(passphrase.encode("utf-8", "surrogateescape"))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _raw(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
