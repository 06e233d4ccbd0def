"""Access that ends: renewed in time, by one worker, and never lost."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from app import clock, ids
from app.engine import secrets, tokens
from app.engine.commit import GroupCommit
from app.integrations.gmail import Account
from app.models import Connection
from app.sdk.addresses import AddressGuard
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.http import HttpClient
from tests import factories
from tests.providers import google as provider
from tests.providers.gmail import SCOPE, GmailApi
from tests.providers.google import GoogleServer
from tests.providers.http import Says


@pytest.fixture
def google() -> Iterator[GoogleServer]:
    with provider.google_server(GmailApi()) as server:
        yield server


@pytest.fixture
def engine(app, google):
    guard = AddressGuard(allow_private=True)
    client = HttpClient(guard)
    plain = app.extensions["engine"]
    config = plain.config.model_copy(update={"provider_base_urls": {"gmail": google.url}})
    yield replace(plain, guard=guard, http=client, config=config)
    client.close()


@pytest.fixture
def kept(engine, google, world):
    """Keeps an account whose access ends in so many seconds; its row as it is then."""

    def keep(ends_in_s, **more):
        access, refresh = google.sign_in(SCOPE)
        account = Account(
            client_id=provider.CLIENT_ID,
            client_secret=provider.CLIENT_SECRET,
            access_token=access,
            refresh_token=refresh,
            expires_at=clock.now() + timedelta(seconds=ends_in_s),
            granted=[SCOPE],
            **more,
        )
        row_id, (plain, secret) = ids.new("con"), secrets.split(account)
        factories.ConnectionFactory(
            id=row_id,
            workspace_id=world.workspace.id,
            integration="gmail",
            settings=plain,
            sealed=secrets.seal(engine.keyring, secret, bound_to=row_id),
        )
        return look(engine, row_id)

    return keep


def look(engine, row_id):
    with engine.database.connect() as connection:
        return connection.execute(sa.select(Connection.__table__).where(Connection.id == row_id)).one()


def change(engine, row_id, **values):
    update = sa.update(Connection).where(Connection.id == row_id).values(**values)
    engine.writer.submit(lambda connection: connection.execute(update))


def opened(engine, row_id):
    return secrets.open_connection(engine.keyring, engine.catalogue, look(engine, row_id))


def test_an_access_that_still_works_is_left_alone(engine, google, kept):
    row = kept(3600)

    account = tokens.fresh(engine, row)

    assert account == opened(engine, row.id)
    assert google.granted == []


@pytest.mark.parametrize("ends_in_s", [240, 0, -86_400])
def test_an_access_is_renewed_before_it_ends_and_kept_sealed(engine, google, kept, ends_in_s):
    row = kept(ends_in_s)
    before = opened(engine, row.id)

    account = tokens.fresh(engine, row)

    now = look(engine, row.id)
    assert account == opened(engine, row.id)
    assert account.access_token != before.access_token
    assert account.refresh_token == before.refresh_token
    assert account.access_token.get_secret_value() not in now.sealed + str(now.settings)
    assert (google.granted, now.token_lease_until) == (["refresh_token"], None)
    assert now.updated_at == row.updated_at


def test_twenty_at_once_renew_it_once(engine, google, kept):
    row = kept(-1)
    google.pause_s = 0.2
    # Two processes: each has a writer of its own.
    engines = [engine, replace(engine, writer=GroupCommit(engine.database))]
    found, start = [], threading.Barrier(20)

    def work(number):
        start.wait()
        found.append(tokens.fresh(engines[number % 2], row).access_token.get_secret_value())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(found) == 20
    assert len(set(found)) == 1
    assert google.granted == ["refresh_token"]


def test_nobody_waits_while_the_old_access_still_works(engine, google, kept):
    row = kept(200)
    change(engine, row.id, token_lease_until=clock.now() + timedelta(seconds=20))

    account = tokens.fresh(engine, row)

    assert account == opened(engine, row.id)
    assert google.granted == []


def test_a_worker_that_died_while_renewing_is_followed_by_another(engine, google, kept):
    row = kept(-1)
    change(engine, row.id, token_lease_until=clock.now() - timedelta(seconds=1))

    tokens.fresh(engine, row)

    assert google.granted == ["refresh_token"]


def test_an_old_look_at_the_row_renews_nothing_twice(engine, google, kept):
    row = kept(-1)
    first = tokens.fresh(engine, row)

    second = tokens.fresh(engine, row)

    assert first == second
    assert google.granted == ["refresh_token"]


def test_an_access_that_was_withdrawn_asks_to_connect_again(engine, google, kept):
    row = kept(-1)
    google.revoke()

    with pytest.raises(AuthError, match=r"google ended this access.*connect it again"):
        tokens.fresh(engine, row)

    assert look(engine, row.id).token_lease_until is None


def test_google_being_away_is_no_matter_while_the_old_access_works(engine, google, kept):
    row = kept(240)
    google.fail_tokens(Says(503))

    assert tokens.fresh(engine, row) == opened(engine, row.id)


@pytest.mark.parametrize(
    ("says", "after"),
    [(Says(503), None), (Says(429, headers={"Retry-After": "7"}), 7), (Says(hang_up=True), None)],
)
def test_google_being_away_is_waited_for_and_nothing_was_sent(engine, google, kept, says, after):
    row = kept(-1)
    google.fail_tokens(says)

    with pytest.raises(TemporaryError) as failure:
        tokens.fresh(engine, row)

    assert (failure.value.sent, failure.value.after) == (False, after)
    assert look(engine, row.id).token_lease_until is None


def test_what_a_person_changed_meanwhile_is_not_overwritten(engine, google, kept):
    row = kept(-1)
    mended = opened(engine, row.id).without_tokens()
    plain, secret = secrets.split(mended)
    answer = google.answer

    def meanwhile(says):
        change(engine, row.id, settings=plain, sealed=secrets.seal(engine.keyring, secret, bound_to=row.id))
        return says

    google._token = lambda request, token=google._token: meanwhile(token(request))
    assert answer is not None

    found = tokens.fresh(engine, row)

    assert found == opened(engine, row.id) == mended


def test_a_key_that_was_rotated_meanwhile_loses_no_access(engine, google, kept):
    row = kept(-1)
    before = engine.keyring.open(row.sealed, bound_to=row.id)

    def meanwhile(says):
        change(engine, row.id, sealed=engine.keyring.seal(before, bound_to=row.id))
        return says

    google._token = lambda request, token=google._token: meanwhile(token(request))

    found = tokens.fresh(engine, row)

    assert found == opened(engine, row.id)
    assert not found.is_due(clock.now())


def test_a_connection_that_was_deleted_is_told(engine, google, kept):
    row = kept(-1)
    engine.writer.submit(lambda connection: connection.execute(sa.delete(Connection)))

    with pytest.raises(RejectedError, match="deleted"):
        tokens.fresh(engine, row)


def test_an_access_can_be_renewed_on_demand(engine, google, kept):
    row = kept(3600)

    account = tokens.fresh(engine, row, force=True)

    assert google.granted == ["refresh_token"]
    assert account == opened(engine, row.id)


def test_a_service_account_gets_its_access_the_same_way(engine, google, kept):
    row = kept(-1, method="service_account", service_account_key=provider.service_account_key())

    account = tokens.fresh(engine, row)

    assert google.granted == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert account.access_token.get_secret_value()
    assert account == opened(engine, row.id)


def test_the_token_address_of_a_key_is_not_believed(engine, google, kept):
    row = kept(-1, method="service_account", service_account_key=provider.service_account_key())

    tokens.fresh(engine, row)

    assert [request.path for request in google.received] == ["/token"]
