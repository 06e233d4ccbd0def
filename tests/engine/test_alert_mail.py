"""From a run that fails to the mail in somebody's box, over a worker that dies on the way."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from app import clock
from app.database import write_connection
from app.engine import secrets, watch
from app.engine.core import Engine
from app.integrations.smtp import Account
from app.models import Alert, AlertKind, AlertPreference, Channel, Membership, Run, SweepMark, Task, User
from app.sdk.addresses import AddressGuard
from app.sdk.errors import RejectedError
from tests import factories
from tests.engine.conftest import Bench, step
from tests.providers.smtp import Mailbox, smtp_server


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with smtp_server(security="none", log_in=False) as running:
        yield running


@pytest.fixture
def engine(engine: Engine) -> Engine:
    return replace(engine, guard=AddressGuard(allow_private=True))


@pytest.fixture
def told_by_mail(bench: Bench, mailbox: Mailbox) -> str:
    """The id of the connection that sends Ada's alerts."""
    account = Account(
        host="127.0.0.1", port=mailbox.port, security="none", sender="bitqueue@example.com", password=""
    )
    plain, secret = secrets.split(account)
    connection_id = bench.add(factories.ConnectionFactory, settings=plain, healthy=True)
    sealed = secrets.seal(bench.engine.keyring, secret, bound_to=connection_id)
    user = factories.UserFactory.build(
        email="ada@example.com", session_epoch=0, operator=False, zone="UTC", theme="auto"
    )
    place = {"workspace_id": bench.workspace_id, "user_id": user.id}
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.text("UPDATE connections SET sealed = :sealed"), {"sealed": sealed})
        row = {name: value for name, value in vars(user).items() if name in User.__table__.c}
        connection.execute(sa.insert(User), row)
        connection.execute(
            sa.insert(Membership), place | {"id": "mem_1", "role": "owner", "created_at": clock.now()}
        )
        wishes = {"kinds": list(AlertKind), "channel": Channel.MAIL, "connection_id": connection_id}
        connection.execute(sa.insert(AlertPreference), place | wishes | {"updated_at": clock.now()})
    return connection_id


def look(bench: Bench) -> int:
    """As if the last look were a minute ago."""
    before = (clock.now() - timedelta(minutes=1)).isoformat()
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.delete(SweepMark))
        connection.execute(sa.insert(SweepMark), {"name": "alerts", "upto": before})
    return watch.look(bench.engine)


def refuse(_params: object) -> None:
    raise RejectedError("the shop is closed")


def test_a_failure_reaches_its_owner_though_a_worker_dies_with_the_message(
    bench: Bench, mailbox: Mailbox, told_by_mail: str
):
    bench.provider.answer = refuse
    bench.accept(bench.arm(step("tell")))
    bench.work()
    bench.set(bench.row(Run), finished_at=clock.now() - timedelta(seconds=30))

    look(bench)
    (dying,) = bench.claim()
    bench.end_lease(dying.id)
    bench.end_leases()
    bench.work()

    (mail,) = mailbox.messages
    assert (mail["To"], mail["Subject"]) == ("ada@example.com", "BitQueue: Probe failed")
    assert "Probe failed: tell: the shop is closed" in mail.get_content()
    assert bench.row(Task, action="smtp.send").state == "succeeded"


def test_a_way_that_breaks_makes_no_alert_through_itself(bench: Bench, mailbox: Mailbox, told_by_mail: str):
    bench.set(bench.row(factories.Connection), healthy=False, health_cause="the password was refused")

    told = [look(bench) for _ in range(3)]
    bench.work()

    assert told == [1, 0, 0]
    assert bench.row(Alert).subject_id == told_by_mail
    assert (bench.rows(Task), mailbox.messages) == ([], [])
