"""Databases of their own for tests that back up, restore or upgrade: on the server of TEST_DATABASE_URL, or SQLite."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from app.config import Config
from app.services.restore import migrations
from tests.conftest import make_config
from tests.live import fresh_database

on_postgres = pytest.mark.skipif("TEST_DATABASE_URL" not in os.environ, reason="PostgreSQL only")
on_sqlite = pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="SQLite only")


@dataclass(frozen=True)
class Place:
    """A home and a database."""

    config: Config

    @property
    def home(self) -> Path:
        return self.config.bitqueue_home

    def upgrade(self, revision: str = "head") -> None:
        with migrations(self.config) as alembic:
            command.upgrade(alembic, revision)

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(self.config.database_url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            yield connection

    def execute(self, *statements: str, **values: Any) -> None:
        with self.connected() as connection:
            for statement in statements:
                connection.execute(sa.text(statement), values)

    def scalar(self, statement: str) -> Any:
        with self.connected() as connection:
            return connection.scalar(sa.text(statement))

    def add_workspaces(self, count: int) -> None:
        with self.connected() as connection:
            rows = [{"id": f"wsp_{n}", "name": f"Shop ☃ {n}", "created_at": n} for n in range(count)]
            statement = "INSERT INTO workspaces (id, name, created_at) VALUES (:id, :name, :created_at)"
            connection.execute(sa.text(statement), rows)


@contextmanager
def place(home: Path) -> Iterator[Place]:
    """Empty."""
    home.mkdir()
    with fresh_database() as url:
        yield Place(make_config(home, **({"DATABASE_URL": url} if url else {})))


@contextmanager
def copy_of(original: Place, home: Path) -> Iterator[Place]:
    """Another one with the same rows, without running the migrations again."""
    with place(home) as made:
        if made.config.is_sqlite:
            shutil.copy(original.home / "bitqueue.db", home)
        else:
            _copy_database(sa.make_url(original.config.database_url), sa.make_url(made.config.database_url))
        yield made


def _copy_database(original: sa.URL, target: sa.URL) -> None:
    server = sa.create_engine(
        original.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {target.database}"))
        connection.execute(sa.text(f"CREATE DATABASE {target.database} TEMPLATE {original.database}"))
