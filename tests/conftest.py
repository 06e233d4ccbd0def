"""What every test may ask for: a migrated database, the application, people in their roles, and clients."""

import base64
import contextvars
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from flask import Flask, has_app_context
from flask.testing import FlaskClient
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from app.config import Config
from app.database import db
from app.engine.core import Engine
from app.extensions import limiter
from app.factory import create_app
from app.models import Base, Membership, Queue, Role, User, Workspace
from app.services import schema
from app.services.access import Actor
from app.services.team import make_actor
from tests import factories

CREDENTIAL_KEYS = "k1:" + base64.urlsafe_b64encode(b"k" * 32).decode()


class Client(FlaskClient):
    """Every request in a context of its own: a test's application context would carry `g` from one to the next."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        answer = contextvars.Context().run(super().open, *args, **kwargs)
        if has_app_context():
            # What the test reads from now on is what the request left.
            db.session.rollback()
        return answer


@dataclass(frozen=True)
class World:
    """A workspace with one person in each role, and a stranger who owns another one."""

    workspace: Workspace
    queue: Queue
    owner: User
    admin: User
    member: User
    viewer: User
    stranger: User
    other_workspace: Workspace
    actors: dict[str, Actor]

    def actor(self, who: str = "owner") -> Actor:
        """`owner`, `admin`, `member` (an editor), `viewer` or `stranger`."""
        return self.actors[who]


def make_config(home: Path, **more: str) -> Config:
    """The settings of an application under `home`; `more` are variables, in capitals."""
    return Config.load(
        {
            "BITQUEUE_HOME": str(home),
            "SECRET_KEY": "a secret key for tests only",
            "CREDENTIAL_KEYS": CREDENTIAL_KEYS,
            "PUBLIC_URL": "http://bitqueue.test",
            "LOG_LEVEL": "error",
            **more,
        }
    )


def make_app(config: Config) -> Flask:
    """An application for tests: no tokens in forms, cheap passwords, faults raised instead of shown."""
    app = create_app(config)
    app.config.update(TESTING=True, WTF_CSRF_ENABLED=False)
    app.test_client_class = Client
    app.extensions["passwords"] = factories.CHEAP_PASSWORDS
    return app


def migrate(app: Flask) -> None:
    with app.app_context():
        command.upgrade(schema.alembic_of(app), "head")


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Config:
    """SQLite in a file of its own; PostgreSQL when TEST_DATABASE_URL names a server's database."""
    home = tmp_path_factory.mktemp("home")
    url = os.environ.get("TEST_DATABASE_URL")
    return make_config(home, **({"DATABASE_URL": _empty_database(url, worker_id)} if url else {}))


def _empty_database(url: str, worker_id: str) -> str:
    """Beside the one that `url` names: one for each process that runs tests."""
    given = sa.make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")
    name = f"{given.database}_{worker_id}"
    server = sa.create_engine(given, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with server.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    return given.set(drivername="postgresql", database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def _app(config: Config) -> Iterator[Flask]:
    app = make_app(config)
    migrate(app)
    with app.app_context():
        database = db.engine
        if config.is_sqlite:
            sa.event.listen(database, "connect", _forget_the_disk)
    yield app
    database.dispose()


def _forget_the_disk(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture
def app(_app: Flask) -> Iterator[Flask]:
    """The application on an empty, migrated database."""
    _count_in_memory()
    yield _app
    _app.extensions.pop("has_people", None)
    with _app.app_context():
        db.session.remove()
        _empty(db.engine)


def _count_in_memory() -> None:
    # The limiter is the process's; no Redis runs, and each test begins at zero.
    limiter._storage = MemoryStorage()
    limiter._limiter = FixedWindowRateLimiter(limiter._storage)
    limiter._storage_dead = False


def _empty(database: sa.Engine) -> None:
    statements = [f"DELETE FROM {table.name}" for table in reversed(Base.metadata.sorted_tables)]
    with database.begin() as connection:
        # PostgreSQL takes them in one go, which is most of what a test would wait for.
        for statement in ["; ".join(statements)] if database.dialect.name == "postgresql" else statements:
            connection.exec_driver_sql(statement)


@pytest.fixture
def engine(app: Flask) -> Engine:
    return app.extensions["engine"]


@pytest.fixture
def session(app: Flask) -> Iterator[Session]:
    """The session that services get; `writing()` inside a test yields the same one."""
    with app.app_context():
        yield db.session()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser in which nobody is logged in."""
    return app.test_client()


@pytest.fixture
def world(session: Session) -> World:
    workspace, other = (factories.WorkspaceFactory.build(name=name) for name in ("Shop", "Elsewhere"))
    places = {"owner": Role.OWNER, "admin": Role.ADMIN, "member": Role.EDITOR, "viewer": Role.VIEWER}
    memberships = {name: _membership(name, workspace, role) for name, role in places.items()}
    memberships["stranger"] = _membership("stranger", other, Role.OWNER)
    queue, other_queue = (factories.QueueFactory.build(workspace_id=place.id) for place in (workspace, other))
    actors = {name: make_actor(membership, membership.user) for name, membership in memberships.items()}
    # In one transaction: most tests ask for this.
    session.add_all([workspace, other])
    session.flush()
    session.add_all([*memberships.values(), queue, other_queue])
    session.commit()
    users = {name: membership.user for name, membership in memberships.items()}
    return World(workspace=workspace, queue=queue, other_workspace=other, actors=actors, **users)


def _membership(name: str, workspace: Workspace, role: Role) -> Membership:
    user = factories.UserFactory.build(
        email=f"{name}@example.com", name=name.title(), operator=name == "owner"
    )
    user.zone, user.theme, user.session_epoch = "UTC", "auto", 0
    return factories.MembershipFactory.build(
        workspace=workspace, workspace_id=workspace.id, user=user, role=role
    )


@pytest.fixture
def log_in(app: Flask) -> Callable[[User], FlaskClient]:
    """Gives a browser in which that person is logged in."""

    def make(user: User) -> FlaskClient:
        client = app.test_client()
        with client.session_transaction() as cookie:
            cookie["_user_id"] = f"{user.id}.{user.session_epoch}"
            cookie["_fresh"] = True
            cookie.permanent = True
        return client

    return make


@pytest.fixture
def as_owner(world: World, log_in: Callable[[User], FlaskClient]) -> FlaskClient:
    return log_in(world.owner)


@pytest.fixture
def as_admin(world: World, log_in: Callable[[User], FlaskClient]) -> FlaskClient:
    return log_in(world.admin)


@pytest.fixture
def as_member(world: World, log_in: Callable[[User], FlaskClient]) -> FlaskClient:
    return log_in(world.member)


@pytest.fixture
def as_viewer(world: World, log_in: Callable[[User], FlaskClient]) -> FlaskClient:
    return log_in(world.viewer)


@pytest.fixture
def as_stranger(world: World, log_in: Callable[[User], FlaskClient]) -> FlaskClient:
    return log_in(world.stranger)


@pytest.fixture
def api_key(world: World) -> str:
    """A key of the owner that may read and write."""
    text = "bq_a-key-for-tests"
    factories.ApiKeyFactory(workspace_id=world.workspace.id, user_id=world.owner.id, text=text)
    return text


@pytest.fixture
def api(app: Flask, api_key: str) -> FlaskClient:
    """A program with the owner's key."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"
    return client
