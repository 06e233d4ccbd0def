"""Signing in at Google and coming back: what is kept, and what a forged return gets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from app import clock
from app.engine.core import Engine
from app.models import Connection, SignIn, State, User
from app.sdk.addresses import AddressGuard
from app.sdk.http import HttpClient
from app.services import connections
from tests import factories
from tests.conftest import World
from tests.providers import google as provider
from tests.providers.gmail import SCOPE, GmailApi
from tests.providers.google import GoogleServer
from tests.providers.http import Says
from tests.web.test_rules import now_in

CALLBACK = "/connections/oauth/callback"


@pytest.fixture
def google(app: Flask, engine: Engine) -> Iterator[GoogleServer]:
    """Google on this machine, and an operator who put it in the place of the real one."""
    guard = AddressGuard(allow_private=True)
    with provider.google_server(GmailApi()) as server:
        config = engine.config.model_copy(update={"provider_base_urls": {"gmail": server.url}})
        client = HttpClient(guard)
        app.extensions["engine"] = replace(engine, guard=guard, http=client, config=config)
        try:
            yield server
        finally:
            app.extensions["engine"] = engine
            client.close()


@pytest.fixture
def engine_now(app: Flask, google: GoogleServer) -> Engine:
    return app.extensions["engine"]


def typed(**changes: str) -> dict[str, str]:
    return {
        "integration": "gmail",
        "name": "Shop mail",
        "p_method": "oauth",
        "p_client_id": provider.CLIENT_ID,
        "p_client_secret": provider.CLIENT_SECRET,
        **changes,
    }


@dataclass
class Trip:
    """One person's way to Google and back."""

    client: FlaskClient
    google: GoogleServer

    def leave(self, path: str = "/connections", **changes: str) -> str:
        """The address of Google's page."""
        answer = self.client.post(path, data=typed(**changes))
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    def consent(self, address: str) -> str:
        """The path that Google sends the browser back to."""
        parts = urlsplit(address)
        said = self.google.answer(
            provider.Received("GET", parts.path, parse_qs(parts.query, keep_blank_values=True), {}, b"")
        )
        assert said.status == 302, said.body
        back = urlsplit(said.headers["Location"])
        return f"{back.path}?{back.query}"

    def come_back(self, path: str) -> TestResponse:
        return self.client.get(path, follow_redirects=True)

    def whole(self, path: str = "/connections", **changes: str) -> TestResponse:
        return self.come_back(self.consent(self.leave(path, **changes)))


@pytest.fixture
def trip(as_member: FlaskClient, google: GoogleServer) -> Trip:
    return Trip(as_member, google)


def rows(session: Session) -> list[Connection]:
    return now_in(session).query(Connection).all()


def test_somebody_signs_in_and_the_account_is_kept_sealed(
    trip: Trip, session: Session, engine_now: Engine
) -> None:
    answer = trip.whole()

    [row] = rows(session)
    account = connections.opened(engine_now, row)
    assert "Connected to ada@example.com" in answer.text
    assert (row.name, row.healthy, row.settings["granted"]) == ("Shop mail", True, [SCOPE])
    assert account.expires_at > clock.now() + timedelta(minutes=50)
    for secret in (account.access_token, account.refresh_token, account.client_secret):
        assert secret.get_secret_value()
        assert secret.get_secret_value() not in str(row.settings) + row.sealed + answer.text
    assert row.checked_at is not None


def test_google_is_asked_with_state_pkce_and_the_exact_redirect_address(trip: Trip) -> None:
    address = urlsplit(trip.leave())

    query = {name: value for name, [value] in parse_qs(address.query).items()}
    assert query["redirect_uri"] == "http://bitqueue.test/connections/oauth/callback"
    assert (query["code_challenge_method"], len(query["code_challenge"])) == ("S256", 43)
    assert (query["access_type"], query["prompt"], query["scope"]) == ("offline", "consent", SCOPE)
    assert len(query["state"]) >= 40
    assert provider.CLIENT_SECRET not in address.query


def test_the_form_explains_and_shows_the_address_to_copy(
    as_member: FlaskClient, google: GoogleServer
) -> None:
    answer = as_member.get("/connections/new?integration=gmail")

    assert "http://bitqueue.test/connections/oauth/callback" in answer.text
    assert "Connect with Google" in answer.text
    assert "enable the Gmail API" in answer.text
    assert "service account" in answer.text
    for name in ("access_token", "refresh_token", "expires_at", "granted"):
        assert f'name="p_{name}"' not in answer.text


def test_only_the_form_that_leads_to_google_may_lead_there(
    as_member: FlaskClient, google: GoogleServer
) -> None:
    policy = as_member.get("/connections/new?integration=gmail").headers["Content-Security-Policy"]
    other = as_member.get("/connections/new?integration=smtp").headers["Content-Security-Policy"]

    assert f"form-action 'self' {google.url};" in policy
    assert "form-action 'self';" in other


def test_tokens_cannot_be_typed(trip: Trip, session: Session) -> None:
    answer = trip.client.post("/connections", data=typed(p_access_token="mine", p_refresh_token="mine"))

    assert answer.status_code == 303
    assert rows(session) == []


@pytest.mark.parametrize(
    "query", ["", "?code=4/x", "?state=", "?state=guessed&code=4/x", "?error=access_denied"]
)
def test_a_return_without_a_state_of_ours_is_refused(
    as_member: FlaskClient, google: GoogleServer, session: Session, query: str
) -> None:
    answer = as_member.get(CALLBACK + query)

    assert answer.status_code == 400
    assert "not begun in this browser" in answer.text
    assert (rows(session), google.granted) == ([], [])


def test_a_state_is_good_once(trip: Trip, session: Session) -> None:
    back = trip.consent(trip.leave())
    trip.come_back(back)

    again = trip.client.get(back)

    assert again.status_code == 400
    assert len(rows(session)) == 1
    assert trip.google.granted == ["authorization_code"]


def test_a_state_is_good_once_even_with_the_cookie_of_before(trip: Trip, session: Session) -> None:
    back = trip.consent(trip.leave())
    with trip.client.session_transaction() as cookie:
        begun = list(cookie["sign_ins"])
    trip.come_back(back)
    with trip.client.session_transaction() as cookie:
        cookie["sign_ins"] = begun

    again = trip.client.get(back)

    assert again.status_code == 400
    assert len(rows(session)) == 1


def test_a_state_of_somebody_else_is_refused_and_stays_theirs(
    trip: Trip, google: GoogleServer, world: World, log_in: Callable[[User], FlaskClient], session: Session
) -> None:
    back = trip.consent(trip.leave())

    for person in (world.admin, world.stranger):
        other = log_in(person)
        assert other.get(back).status_code == 400
        with trip.client.session_transaction() as mine, other.session_transaction() as theirs:
            theirs["sign_ins"] = mine["sign_ins"]
        assert other.get(back).status_code == 400
    answer = trip.come_back(back)

    assert "Connected to" in answer.text
    assert [row.workspace_id for row in rows(session)] == [world.workspace.id]


def test_a_return_without_a_login_is_sent_to_log_in(
    trip: Trip, client: FlaskClient, session: Session
) -> None:
    answer = client.get(trip.consent(trip.leave()))

    assert answer.status_code == 302
    assert "/login" in answer.headers["Location"]
    assert rows(session) == []


def test_a_viewer_begins_and_finishes_nothing(as_viewer: FlaskClient, google: GoogleServer) -> None:
    assert as_viewer.post("/connections", data=typed()).status_code == 403
    assert as_viewer.get(CALLBACK + "?state=x&code=y").status_code == 403


def test_a_sign_in_that_took_too_long_is_over(trip: Trip, session: Session) -> None:
    back = trip.consent(trip.leave())

    with time_machine.travel(clock.now() + timedelta(minutes=16), tick=False):
        answer = trip.client.get(back)

    assert answer.status_code == 400
    assert rows(session) == []


def test_what_is_kept_meanwhile_is_sealed(trip: Trip, session: Session) -> None:
    trip.leave()

    [row] = now_in(session).query(SignIn).all()
    with trip.client.session_transaction() as cookie:
        shown = str(dict(cookie))
    assert provider.CLIENT_SECRET not in row.sealed + shown
    assert row.id not in row.sealed


def test_two_tabs_can_sign_in_at_once(trip: Trip, session: Session) -> None:
    first, second = trip.leave(), trip.leave(name="Other mail")

    trip.come_back(trip.consent(second))
    trip.come_back(trip.consent(first))

    assert sorted(row.name for row in rows(session)) == ["Other mail", "Shop mail"]


def test_who_cancels_at_google_keeps_what_was_typed(trip: Trip, session: Session) -> None:
    trip.google.consent = lambda scopes: None

    answer = trip.whole()

    assert "canceled; nothing was changed" in answer.text
    assert provider.CLIENT_ID in answer.text
    assert provider.CLIENT_SECRET not in answer.text
    assert rows(session) == []


def test_a_scope_that_was_not_ticked_is_named(trip: Trip, session: Session) -> None:
    trip.google.consent = lambda scopes: ["https://www.googleapis.com/auth/gmail.readonly"]

    answer = trip.whole()

    assert SCOPE in answer.text
    assert "tick every box" in answer.text
    assert rows(session) == []


def test_a_wrong_client_secret_is_told_apart(trip: Trip, session: Session) -> None:
    answer = trip.whole(p_client_secret="GOCSPX-wrong")

    assert "refused client id or client secret" in answer.text
    assert rows(session) == []


def test_a_stranger_s_words_in_the_error_do_not_reach_the_page(trip: Trip) -> None:
    state = parse_qs(urlsplit(trip.leave()).query)["state"][0]

    answer = trip.come_back(f"{CALLBACK}?{urlencode({'state': state, 'error': '<script>alert(1)</script>'})}")

    assert "<script>alert" not in answer.text
    assert "scriptalert1script" in answer.text


def test_a_code_of_another_sign_in_does_not_fit(trip: Trip, session: Session) -> None:
    """PKCE: a code that was stolen and slipped into one's own sign-in buys nothing."""
    stolen = parse_qs(urlsplit(trip.consent(trip.leave())).query)["code"][0]
    state = parse_qs(urlsplit(trip.leave()).query)["state"][0]

    answer = trip.come_back(f"{CALLBACK}?{urlencode({'state': state, 'code': stolen})}")

    assert "Google ended this access" in answer.text
    assert rows(session) == []


def test_google_that_does_not_answer_keeps_nothing(trip: Trip, session: Session) -> None:
    trip.google.fail_tokens(Says(503))

    answer = trip.whole()

    assert "cannot renew the access now" in answer.text
    assert rows(session) == []


def test_an_account_that_cannot_be_checked_now_is_kept_unchecked(trip: Trip, session: Session) -> None:
    trip.google.fail(Says(503))

    answer = trip.whole()

    [row] = rows(session)
    assert "does not answer now" in answer.text
    assert row.checked_at is None


def test_a_broken_account_is_mended_by_signing_in_again(
    trip: Trip, session: Session, engine_now: Engine, world: World
) -> None:
    trip.whole()
    [row] = rows(session)
    trip.google.revoke()
    row.healthy, row.health_cause = False, "google ended this access"
    session.commit()
    held = factories.TaskFactory(
        workspace_id=world.workspace.id,
        queue_id=world.queue.id,
        connection_id=row.id,
        state=State.WAITING,
        cause="held: google ended this access",
    )
    before = connections.opened(engine_now, row).refresh_token

    page = trip.client.get(f"/connections/{row.id}").text
    answer = trip.whole(f"/connections/{row.id}", p_client_secret="", sign_in="1")

    [row] = rows(session)
    session.refresh(held)
    assert "Connect again with Google" in page
    assert "Connected to" in answer.text
    assert (row.healthy, row.health_cause) == (True, None)
    assert connections.opened(engine_now, row).refresh_token != before
    assert held.state is State.QUEUED


def test_saving_an_account_without_a_change_keeps_its_access(
    trip: Trip, session: Session, engine_now: Engine
) -> None:
    trip.whole()
    [row] = rows(session)
    before = connections.opened(engine_now, row)

    answer = trip.client.post(f"/connections/{row.id}", data=typed(name="New name", p_client_secret=""))

    [row] = rows(session)
    assert answer.status_code == 302
    assert row.name == "New name"
    assert connections.opened(engine_now, row) == before


def test_another_client_has_to_be_signed_in_anew(trip: Trip, session: Session) -> None:
    trip.whole()
    [row] = rows(session)

    answer = trip.client.post(f"/connections/{row.id}", data=typed(p_client_id="other", p_client_secret=""))

    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(trip.google.url)


def test_a_service_account_needs_no_sign_in(
    as_member: FlaskClient, google: GoogleServer, session: Session
) -> None:
    google.delegated.add("bob@example.com")
    key = provider.service_account_key()

    answer = as_member.post(
        "/connections",
        data=typed(p_method="service_account", p_service_account_key=key, p_subject="bob@example.com"),
        follow_redirects=True,
    )

    [row] = rows(session)
    assert "Connected to bob@example.com" in answer.text
    assert "PRIVATE KEY" not in answer.text + str(row.settings)


def test_a_broken_access_is_renewed_by_a_check(trip: Trip, session: Session) -> None:
    trip.whole()
    [row] = rows(session)
    trip.google.expire()
    row.healthy = False
    session.commit()

    answer = trip.client.post(f"/connections/{row.id}/check", follow_redirects=True)

    [row] = rows(session)
    assert "Connected to" in answer.text
    assert row.healthy
