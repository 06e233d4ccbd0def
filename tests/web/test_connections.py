"""Connecting accounts: checked before they are kept, never shown again."""

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app import clock
from app.engine.core import Engine
from app.models import Connection, Pace, Rule, State
from app.sdk.addresses import AddressGuard
from app.services import connections
from tests import factories
from tests.conftest import World
from tests.providers.smtp import PASSWORD, USERNAME, smtp_server
from tests.web.test_rules import added, now_in, started


@pytest.fixture
def mail_port(app: Flask, engine: Engine) -> Iterator[int]:
    """A mail server with log-in on this machine, and an operator who allows private networks."""
    app.extensions["engine"] = replace(engine, guard=AddressGuard(allow_private=True))
    try:
        with smtp_server() as mailbox:
            yield mailbox.port
    finally:
        app.extensions["engine"] = engine


def account(port: int, **changes: str) -> dict[str, str]:
    return {
        "integration": "smtp",
        "name": "Shop mail",
        "p_host": "127.0.0.1",
        "p_port": str(port),
        "p_security": "none",
        "p_username": USERNAME,
        "p_password": PASSWORD,
        "p_sender": "shop@example.com",
        **changes,
    }


def test_an_account_that_works_is_kept_and_its_secret_never_shown(
    as_member: FlaskClient, session: Session, engine: Engine, mail_port: int
) -> None:
    answer = as_member.post("/connections", data=account(mail_port), follow_redirects=True)

    [row] = now_in(session).query(Connection).all()
    page = as_member.get(f"/connections/{row.id}").text
    assert answer.status_code == 200
    assert f"Signed in to 127.0.0.1 as {USERNAME}" in answer.text
    assert PASSWORD not in answer.text + page + str(row.settings) + row.sealed
    assert connections.opened(engine, row).password.get_secret_value() == PASSWORD
    assert row.checked_at is not None


def test_an_account_that_is_refused_is_not_kept(
    as_member: FlaskClient, session: Session, mail_port: int
) -> None:
    answer = as_member.post("/connections", data=account(mail_port, p_password="wrong"))

    assert answer.status_code == 422
    assert "nothing was saved" in answer.text
    assert "Save without a check" not in answer.text
    assert f'value="{USERNAME}"' in answer.text
    assert not re.search(r'value="[^"]*wrong', answer.text)
    assert now_in(session).query(Connection).count() == 0


def test_an_account_whose_server_is_away_is_kept_only_when_asked_for(
    as_member: FlaskClient, session: Session, mail_port: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        away = account(free.getsockname()[1])

    refused = as_member.post("/connections", data=away)
    kept_before = now_in(session).query(Connection).count()
    as_member.post("/connections", data={**away, "anyway": "1"})

    assert refused.status_code == 422
    assert "Save without a check" in refused.text
    assert kept_before == 0
    assert now_in(session).query(Connection).one().checked_at is None


def test_a_private_address_is_refused(as_member: FlaskClient, session: Session) -> None:
    answer = as_member.post("/connections", data={**account(25), "anyway": "1"})

    assert answer.status_code == 422
    assert now_in(session).query(Connection).count() == 0


def test_what_is_missing_stands_beside_its_field(as_member: FlaskClient) -> None:
    answer = as_member.post("/connections", data={"integration": "smtp", "name": "", "p_port": "many"})

    assert answer.status_code == 422


def test_an_empty_secret_keeps_the_old_one(
    as_member: FlaskClient, session: Session, engine: Engine, mail_port: int
) -> None:
    as_member.post("/connections", data=account(mail_port))
    row = now_in(session).query(Connection).one()

    answer = as_member.post(
        f"/connections/{row.id}", data=account(mail_port, p_password="", name="Other mail")
    )

    row = now_in(session).query(Connection).one()
    assert answer.status_code == 302
    assert row.name == "Other mail"
    assert connections.opened(engine, row).password.get_secret_value() == PASSWORD


def test_another_server_needs_the_secret_again(
    as_member: FlaskClient, session: Session, mail_port: int
) -> None:
    as_member.post("/connections", data=account(mail_port))
    row = now_in(session).query(Connection).one()

    answer = as_member.post(
        f"/connections/{row.id}", data=account(mail_port, p_password="", p_host="127.0.0.2")
    )

    assert answer.status_code == 422
    assert "enter this again" in answer.text.lower()
    assert now_in(session).query(Connection).one().settings["host"] == "127.0.0.1"


def test_a_check_finds_out_whether_it_still_works(
    as_member: FlaskClient, session: Session, mail_port: int
) -> None:
    as_member.post("/connections", data=account(mail_port))
    row = now_in(session).query(Connection).one()
    row.healthy, row.health_cause = False, "refused yesterday"
    session.commit()

    answer = as_member.post(f"/connections/{row.id}/check", follow_redirects=True)

    assert "Signed in to" in answer.text
    assert now_in(session).query(Connection).one().healthy


def test_a_missing_key_gives_a_readable_page_and_overwrites_nothing(
    as_member: FlaskClient, session: Session, world: World
) -> None:
    sealed = "k9.bm90LW91cnM="
    row = factories.ConnectionFactory(
        workspace_id=world.workspace.id,
        sealed=sealed,
        settings={"host": "mail.example", "port": 587, "security": "starttls", "username": "shop",
                  "sender": "shop@example.com", "accept_self_signed": False},
    )  # fmt: skip

    page = as_member.get(f"/connections/{row.id}")
    saved = as_member.post(f"/connections/{row.id}", data=account(587, p_host="mail.example", p_password=""))
    checked = as_member.post(f"/connections/{row.id}/check", follow_redirects=True)

    assert page.status_code == 200
    assert saved.status_code == 503
    assert "The key k9 is not in CREDENTIAL_KEYS" in saved.text
    assert "The key k9 is not in CREDENTIAL_KEYS" in checked.text
    assert now_in(session).get(Connection, row.id).sealed == sealed


def test_a_connection_in_use_is_not_deleted_and_the_rules_are_named(
    as_member: FlaskClient, session: Session, world: World
) -> None:
    row_id = factories.ConnectionFactory(workspace_id=world.workspace.id, created_by=world.member.id).id
    rule_id = started(as_member, name="Uses <b>it</b>")
    path = added(as_member, rule_id, action="smtp.send")
    as_member.post(
        path, data={"connection": row_id, "p_to": "ada@example.com", "p_subject": "x", "p_text": "y"}
    )

    refused = as_member.post(f"/connections/{row_id}/delete", follow_redirects=True)
    kept = now_in(session).get(Connection, row_id)
    as_member.post(f"/rules/{rule_id}/delete")
    as_member.post(f"/connections/{row_id}/delete")

    assert now_in(session).get(Rule, rule_id).draft["steps"][0]["connection"] == row_id
    assert "is used by Uses &lt;b&gt;it&lt;/b&gt;" in refused.text
    assert kept is not None
    assert now_in(session).get(Connection, row_id) is None


def test_who_did_not_make_it_needs_to_be_an_admin_to_delete_it(
    as_member: FlaskClient, as_admin: FlaskClient, session: Session, world: World
) -> None:
    row_id = factories.ConnectionFactory(workspace_id=world.workspace.id, created_by=world.owner.id).id

    refused = as_member.post(f"/connections/{row_id}/delete")
    as_admin.post(f"/connections/{row_id}/delete")

    assert refused.status_code == 403
    assert now_in(session).get(Connection, row_id) is None


def test_a_limit_is_set_shown_and_lifted(as_member: FlaskClient, session: Session, mail_port: int) -> None:
    as_member.post("/connections", data=account(mail_port))
    page = f"/connections/{now_in(session).query(Connection).one().id}"

    as_member.post(f"{page}/pace", data={"per_minute": "60"})
    limited = as_member.get(page).text
    wrong = as_member.post(f"{page}/pace", data={"per_minute": "many"}, follow_redirects=True).text
    as_member.post(f"{page}/pace", data={"per_minute": ""})

    assert re.search(r'name="per_minute"[^>]* value="60"', limited)
    assert "is from 1 to 100,000" in wrong
    assert re.search(r'name="per_minute"[^>]* value="60"', wrong)
    assert now_in(session).query(Pace).one().per_minute is None


def test_what_waits_for_a_connection_is_shown_with_how_long(
    as_member: FlaskClient, session: Session, mail_port: int
) -> None:
    as_member.post("/connections", data=account(mail_port))
    row = now_in(session).query(Connection).one()
    later = clock.now() + timedelta(minutes=3)
    pace = {
        "connection_id": row.id,
        "workspace_id": row.workspace_id,
        "calls": [],
        "turns": [],
        "failures": 5,
    }
    rest = {"rests_until": later, "cause": "the server answered 503"}
    session.add(Pace(per_minute=60, **pace, **rest))
    queue = factories.QueueFactory(workspace_id=row.workspace_id, name="slow")
    factories.TaskFactory(
        workspace_id=row.workspace_id, connection_id=row.id, state=State.WAITING, cause="paced: waits",
        due_at=later, queue_id=queue.id,
    )  # fmt: skip
    session.commit()

    listed, page = as_member.get("/connections").text, as_member.get(f"/connections/{row.id}").text

    assert "1 waiting for Shop mail, about 3 min" in listed
    assert "the server answered 503" in listed
    assert "1 waiting for their turn, about 3 min" in page
    assert "Left alone until" in page


def test_a_viewer_sees_connections_and_changes_none(
    as_viewer: FlaskClient, session: Session, world: World
) -> None:
    row = factories.ConnectionFactory(workspace_id=world.workspace.id, name="Shop mail")

    seen = as_viewer.get("/connections")
    page = as_viewer.get(f"/connections/{row.id}")
    urls = [
        "/connections",
        f"/connections/{row.id}",
        f"/connections/{row.id}/check",
        f"/connections/{row.id}/delete",
    ]
    answers = {as_viewer.post(url).status_code for url in urls}

    assert "Shop mail" in seen.text
    assert page.status_code == 200
    assert answers == {403}


def test_a_strangers_connection_is_not_there(as_stranger: FlaskClient, world: World) -> None:
    row = factories.ConnectionFactory(workspace_id=world.workspace.id)

    answers = {as_stranger.get(f"/connections/{row.id}").status_code}
    answers |= {
        as_stranger.post(f"/connections/{row.id}{verb}").status_code for verb in ("", "/check", "/delete")
    }

    assert answers == {404}


def test_a_connection_whose_integration_is_gone_still_has_its_page(
    as_member: FlaskClient, world: World
) -> None:
    row = factories.ConnectionFactory(workspace_id=world.workspace.id, integration="gone")

    page, listed = as_member.get(f"/connections/{row.id}"), as_member.get("/connections")

    assert page.status_code == listed.status_code == 200
    assert "not installed" in page.text


def test_an_unknown_integration_is_not_there(as_member: FlaskClient) -> None:
    assert as_member.get("/connections/new?integration=gone").status_code == 404
    assert as_member.post("/connections", data={"integration": "gone"}).status_code == 404


def test_after_connecting_one_goes_back_to_the_step_but_to_no_other_site(
    as_member: FlaskClient, mail_port: int
) -> None:
    back = as_member.post("/connections", data=account(mail_port, next_page="/rules/rul_1/steps/mail"))
    away = as_member.post("/connections", data=account(mail_port, next_page="//evil.example"))

    assert back.location == "/rules/rul_1/steps/mail"
    assert away.location == "/connections"
