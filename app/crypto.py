"""Sealing of secrets: AES-256-GCM under a ring of keys, each text bound to its row."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import SealError

_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """`keys` maps a key id to 32 bytes, in order: the first seals, all open."""

    keys: Mapping[str, bytes]

    @property
    def current(self) -> str:
        return next(iter(self.keys))

    def seal(self, plain: bytes, *, bound_to: str) -> str:
        """`<key id>.<base64url of nonce and ciphertext>`; opens only with the same `bound_to` (a row's id)."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self.keys[self.current]).encrypt(nonce, plain, bound_to.encode())
        return f"{self.current}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, *, bound_to: str) -> bytes:
        key_id, _, text = sealed.partition(".")
        if key_id not in self.keys:
            raise SealError(f"the key {key_id} is not in CREDENTIAL_KEYS; add it back to open what it sealed")
        try:
            raw = base64.urlsafe_b64decode(text)
            return AESGCM(self.keys[key_id]).decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound_to.encode()
            )
        except (InvalidTag, ValueError):
            raise SealError(
                f"a secret of {bound_to} does not open with the key {key_id}; "
                "put the right key into CREDENTIAL_KEYS or enter the secret again"
            ) from None

    def is_current(self, sealed: str) -> bool:
        return sealed.partition(".")[0] == self.current
