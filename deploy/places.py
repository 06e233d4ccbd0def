"""Where the home and the database are, told without the keys: before there are any, none are made."""

import base64
from collections.abc import Mapping

from app.config import Config

_PLACEHOLDERS = {
    "SECRET_KEY": "a place is asked for, no secret",
    "CREDENTIAL_KEYS": "none:" + base64.urlsafe_b64encode(bytes(32)).decode(),
}


def without_keys(given: Mapping[str, str]) -> Config:
    return Config.load({**given, **_PLACEHOLDERS})
