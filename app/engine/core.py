"""The engine's parts, put together once a process and handed to whoever needs them."""

from dataclasses import dataclass

import sqlalchemy as sa
from flask import current_app

from app import integrations
from app.config import Config
from app.crypto import KeyRing
from app.engine.commit import GroupCommit, GroupRead
from app.engine.doorbell import Doorbell, Redis, connect
from app.sdk.addresses import AddressGuard
from app.sdk.declare import Catalogue
from app.sdk.http import HttpClient


@dataclass(frozen=True, slots=True)
class Engine:
    config: Config
    database: sa.Engine
    redis: Redis
    keyring: KeyRing
    catalogue: Catalogue
    guard: AddressGuard
    http: HttpClient
    writer: GroupCommit
    reader: GroupRead
    doorbell: Doorbell

    def base_url(self, integration: str) -> str | None:
        """The operator's override of a provider's address."""
        return self.config.provider_base_urls.get(integration)


def build(config: Config, database: sa.Engine) -> Engine:
    redis = connect(config.redis_url)
    guard = AddressGuard(allow_private=config.allow_private_networks, blocked=config.own_addresses)
    return Engine(
        config=config,
        database=database,
        redis=redis,
        keyring=KeyRing(config.sealing_keys),
        catalogue=integrations.load(),
        guard=guard,
        http=HttpClient(guard),
        writer=GroupCommit(database),
        reader=GroupRead(database),
        doorbell=Doorbell(redis),
    )


def current() -> Engine:
    """The engine of the running application."""
    engine: Engine = current_app.extensions["engine"]
    return engine
