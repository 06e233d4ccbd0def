"""Who calls the API: one header, one key, one actor."""

import hashlib

from flask import request
from flask_limiter.util import get_remote_address

from app.api.problems import UnauthorizedError
from app.database import db
from app.services import api_keys
from app.services.access import Actor

_IN_QUERY = frozenset({"key", "api_key", "apikey", "token", "access_token", "authorization"})


def authenticate() -> Actor:
    """Raises UnauthorizedError. A key in the address is refused even where it is right: addresses are logged."""
    _refuse_query()
    text = bearer()
    if not text:
        raise UnauthorizedError("an api key is needed: send the header Authorization: Bearer bq_…")
    actor = api_keys.authenticate(db.session(), text)
    if actor is None:
        raise UnauthorizedError("this api key is not known or was revoked; make a new one")
    return actor


def bearer() -> str:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def limited_by() -> str:
    """What a rate limit counts by: the key, or the caller's address where there is none."""
    key = bearer()
    return hashlib.sha256(key.encode()).hexdigest()[:32] if key else get_remote_address()


def _refuse_query() -> None:
    for name, value in request.args.items():
        if name.lower() in _IN_QUERY or value.startswith("bq_"):
            raise UnauthorizedError(
                "an api key in the address is refused, because addresses are logged; "
                "make a new key and send it as Authorization: Bearer bq_…"
            )
