"""A connection's secrets: sealed into its row, opened only where they are sent."""

import json
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from app import clock
from app.crypto import KeyRing
from app.database import read_connection
from app.engine import pace
from app.engine.core import Engine
from app.models import Connection
from app.sdk.declare import Catalogue, Integration
from app.sdk.errors import AuthError, RejectedError
from app.sdk.fields import Settings, reveal, secret_names


def split(settings: BaseModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """(plain fields, secret fields in clear)."""
    names = secret_names(type(settings))
    values = reveal(settings)
    return {k: v for k, v in values.items() if k not in names}, {
        k: v for k, v in values.items() if k in names
    }


def seal(keyring: KeyRing, secrets: dict[str, Any], *, bound_to: str) -> str:
    return keyring.seal(json.dumps(secrets).encode(), bound_to=bound_to)


def open_sealed(keyring: KeyRing, sealed: str, *, bound_to: str) -> dict[str, Any]:
    """Raises SealError."""
    secrets: dict[str, Any] = json.loads(keyring.open(sealed, bound_to=bound_to))
    return secrets


def open_connection(keyring: KeyRing, catalogue: Catalogue, row: Connection | sa.Row[Any]) -> Settings:
    """The account with its secrets in clear, as its integration's model.

    Raises SealError, RejectedError when the integration is gone, AuthError when its fields no longer fit.
    """
    integration = catalogue.integrations.get(row.integration)
    if integration is None or integration.settings is None:
        raise RejectedError(
            f"the integration {row.integration} of the connection {row.name} is not installed"
        )
    secrets = open_sealed(keyring, row.sealed, bound_to=row.id)
    return _fit(integration, row, row.settings | secrets)


def account(engine: Engine, workspace_id: str, connection_id: str) -> sa.Row[Any]:
    """A connection's row, of this workspace and no other, with `paced` and `ailing_since` beside its columns.

    Raises RejectedError when it was deleted.
    """
    found = sa.select(
        Connection.__table__,
        pace.concerns(clock.now()).label("paced"),
        pace.ailing_since().label("ailing_since"),
    ).where(Connection.id == connection_id, Connection.workspace_id == workspace_id)
    with read_connection(engine.database) as connection:
        row = connection.execute(found).first()
    if row is None:
        raise RejectedError("the connection of this step was deleted; choose another one")
    return row


def _fit(integration: Integration, row: Connection | sa.Row[Any], values: dict[str, Any]) -> Settings:
    assert integration.settings is not None
    try:
        return integration.settings.model_validate(values)
    except ValueError:
        # Raised by a newer version of the integration that asks for more. The values themselves stay unsaid.
        raise AuthError(f"the connection {row.name} is incomplete; open it and save it again") from None
