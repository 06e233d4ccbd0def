"""Rows for tests, as the application would have stored them; committed at once."""

from datetime import timedelta
from typing import Any

import factory
from factory.alchemy import SQLAlchemyModelFactory

from app import clock, ids
from app.database import db
from app.models import (
    Alert,
    AlertKind,
    ApiKey,
    Connection,
    Event,
    File,
    Invitation,
    Membership,
    Queue,
    Role,
    Rule,
    RuleVersion,
    Run,
    State,
    StepKind,
    Task,
    User,
    Workspace,
)
from app.models.queue import DEFAULT_QUEUE
from app.services import tokens
from app.services.passwords import Passwords

PASSWORD = "correct horse battery"
# The least argon2 takes: the real costs would be most of the suite's time.
CHEAP_PASSWORDS = Passwords(time=1, memory_kib=8, lanes=1)
PASSWORD_HASH = CHEAP_PASSWORDS.hash(PASSWORD)


def new_id(prefix: str) -> Any:
    return factory.LazyFunction(lambda: ids.new(prefix))


class RowFactory(SQLAlchemyModelFactory):
    class Meta:
        abstract = True
        sqlalchemy_session_factory = lambda: db.session  # noqa: E731
        sqlalchemy_session_persistence = "commit"


class UserFactory(RowFactory):
    class Meta:
        model = User

    id = new_id("usr")
    email = factory.Sequence(lambda number: f"person{number}@example.com")
    name = factory.Sequence(lambda number: f"Person {number}")
    password_hash = PASSWORD_HASH
    created_at = factory.LazyFunction(clock.now)


class WorkspaceFactory(RowFactory):
    class Meta:
        model = Workspace

    id = new_id("wsp")
    name = factory.Sequence(lambda number: f"Workspace {number}")
    created_at = factory.LazyFunction(clock.now)


class MembershipFactory(RowFactory):
    class Meta:
        model = Membership

    id = new_id("mem")
    workspace = factory.SubFactory(WorkspaceFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.OWNER
    created_at = factory.LazyFunction(clock.now)


class QueueFactory(RowFactory):
    class Meta:
        model = Queue

    id = new_id("que")
    name = DEFAULT_QUEUE
    created_at = factory.LazyFunction(clock.now)


class InvitationFactory(RowFactory):
    class Meta:
        model = Invitation
        exclude = ("token",)

    token = "the-token-of-the-link"
    id = new_id("inv")
    email = factory.Sequence(lambda number: f"invited{number}@example.com")
    role = Role.EDITOR
    token_sha256 = factory.LazyAttribute(lambda row: tokens.digest(row.token))
    created_at = factory.LazyFunction(clock.now)


class ApiKeyFactory(RowFactory):
    class Meta:
        model = ApiKey
        exclude = ("text",)

    text = "bq_a-key-for-tests"
    id = new_id("key")
    name = "tests"
    prefix = factory.LazyAttribute(lambda row: row.text[:9])
    sha256 = factory.LazyAttribute(lambda row: tokens.digest(row.text))
    scopes = ("read", "write")
    created_at = factory.LazyFunction(clock.now)


class ConnectionFactory(RowFactory):
    class Meta:
        model = Connection

    id = new_id("con")
    integration = "smtp"
    name = factory.Sequence(lambda number: f"Connection {number}")
    settings = factory.LazyFunction(dict)
    sealed = "k1.not-sealed"
    created_by = "usr_nobody"
    created_at = factory.LazyFunction(clock.now)
    updated_at = factory.LazyFunction(clock.now)


class RuleFactory(RowFactory):
    class Meta:
        model = Rule

    id = new_id("rul")
    name = factory.Sequence(lambda number: f"Rule {number}")
    draft = factory.LazyFunction(lambda: {"trigger": {"type": "manual.started", "params": {}}, "steps": []})
    samples = factory.LazyFunction(dict)
    created_by = "usr_nobody"
    created_at = factory.LazyFunction(clock.now)
    updated_at = factory.LazyFunction(clock.now)


class RuleVersionFactory(RowFactory):
    class Meta:
        model = RuleVersion

    id = new_id("ver")
    number = 1
    definition = factory.LazyFunction(
        lambda: {"trigger": {"type": "manual.started", "params": {}}, "steps": []}
    )
    created_by = "usr_nobody"
    created_at = factory.LazyFunction(clock.now)


class EventFactory(RowFactory):
    class Meta:
        model = Event

    id = new_id("evt")
    source = "trg_none"
    key = factory.LazyAttribute(lambda row: row.id)
    type = "manual.started"
    data = factory.LazyFunction(lambda: {"total": 120})
    received_at = factory.LazyFunction(clock.now)


class RunFactory(RowFactory):
    class Meta:
        model = Run

    id = new_id("run")
    state = State.SUCCEEDED
    created_at = factory.LazyFunction(clock.now)


class TaskFactory(RowFactory):
    class Meta:
        model = Task

    id = new_id("tsk")
    path = "1"
    kind = StepKind.ACTION
    action = "http.request"
    state = State.QUEUED
    max_attempts = 8
    due_at = factory.LazyFunction(clock.now)
    created_at = factory.LazyFunction(clock.now)


class AlertFactory(RowFactory):
    class Meta:
        model = Alert

    id = new_id("alt")
    kind = AlertKind.FAILED
    cause = factory.Sequence(lambda number: f"failed:rul_{number}")
    hour = 0
    title = "Big orders failed"
    sentence = "Big orders failed: the shop is closed"
    at = factory.LazyFunction(clock.now)


class FileFactory(RowFactory):
    """An empty one: what is in a file is a row of its own."""

    class Meta:
        model = File

    id = new_id("fil")
    name = "orders.csv"
    media_type = "text/csv"
    bytes = 0
    sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    created_at = factory.LazyFunction(clock.now)
    expires_at = factory.LazyFunction(lambda: clock.now() + timedelta(days=30))
