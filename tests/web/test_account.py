"""One's own account, in a browser: first run, log-in, password, invitation."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter
from sqlalchemy.orm import Session

from app import clock
from app.extensions import limiter
from app.models import Membership, Queue, Role, User, Workspace
from app.services.passwords import Passwords
from tests.conftest import World
from tests.factories import CHEAP_PASSWORDS, PASSWORD, InvitationFactory, UserFactory

FIRST = {"email": "First@Example.com", "password": PASSWORD, "workspace": "Shop", "zone": "Europe/Berlin"}
NEW_PASSWORD = "another long password"


def log_in(client: FlaskClient, email: str = "owner@example.com", password: str = PASSWORD, **more: str):
    return client.post("/login", data={"email": email, "password": password, **more})


def is_logged_in(client: FlaskClient) -> bool:
    return client.get("/help").status_code == 200


def test_the_first_person_becomes_owner_and_operator_and_is_logged_in(client: FlaskClient, session: Session):
    answer = client.post("/welcome", data=FIRST)

    user = session.scalars(sa.select(User)).one()
    assert (answer.status_code, answer.location) == (302, "/")
    assert (user.email, user.operator, user.zone) == ("first@example.com", True, "Europe/Berlin")
    assert session.scalars(sa.select(Membership)).one().role is Role.OWNER
    assert session.scalars(sa.select(Workspace)).one().name == "Shop"
    assert session.scalars(sa.select(Queue)).one().name == "default"
    assert is_logged_in(client)


def test_a_second_first_owner_is_refused(client: FlaskClient, world: World, session: Session):
    answer = client.post("/welcome", data=FIRST)

    assert (answer.status_code, answer.location) == (302, "/login")
    assert session.scalar(sa.select(User).where(User.email == "first@example.com")) is None


def test_of_many_first_owners_at_once_one_is_made(app: Flask, session: Session):
    def welcome(number: int) -> int:
        form = {**FIRST, "email": f"first{number}@example.com"}
        return app.test_client().post("/welcome", data=form).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(welcome, range(6)))

    assert session.scalar(sa.select(sa.func.count()).select_from(User)) == 1
    assert set(statuses) <= {302, 409}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("password", "short", "needs at least 10 characters"),
        ("password", "x" * 300, "may have at most 256 characters"),
        ("email", "no address", "must be an e-mail address"),
        ("email", "a@b\0c", "must be an e-mail address"),
        ("workspace", "  ", "is needed"),
        ("workspace", "x" * 101, "may have at most 100 characters"),
        ("zone", "Mars/Olympus", "Not a valid choice"),
    ],
)
def test_the_welcome_says_beside_the_field_what_does_not_fit(
    client: FlaskClient, field: str, value: str, said: str
):
    answer = client.post("/welcome", data={**FIRST, field: value})

    assert said in answer.text
    assert not is_logged_in(client)


def test_the_right_password_logs_in(client: FlaskClient, world: World):
    answer = log_in(client, "Owner@Example.com ")

    assert (answer.status_code, answer.location) == (302, "/")
    assert is_logged_in(client)


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("owner@example.com", "wrong wrong wrong"),
        ("nobody@example.com", PASSWORD),
        ("owner@example.com", "x" * 10_000),
        ("owner@example.com\0", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        ("<script>alert(1)</script>", PASSWORD),
    ],
)
def test_anything_else_is_refused_with_the_same_words(
    client: FlaskClient, world: World, email: str, password: str
):
    answer = log_in(client, email, password)

    assert answer.status_code == 422
    assert "That address and password do not fit together." in answer.text
    assert "<script>alert" not in answer.text
    assert not is_logged_in(client)


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "/\x00/evil.example",
        "http:evil",
        " //evil.example",
        "///evil.example",
    ],
)
def test_logging_in_never_leads_to_another_site(client: FlaskClient, world: World, target: str):
    answer = log_in(client, next=target)

    assert (answer.status_code, answer.location) == (302, "/")


def test_logging_in_leads_back_to_the_page_that_was_asked_for(client: FlaskClient, world: World):
    asked = client.get("/team?x=1")

    answer = log_in(client, next="/team?x=1")

    assert asked.location == "/login?next=/team?x%3D1"
    assert answer.location == "/team?x=1"


def test_who_is_logged_in_is_not_asked_again(as_owner: FlaskClient):
    assert as_owner.get("/login?next=/help").location == "/help"


def test_log_ins_to_one_account_are_limited(client: FlaskClient, world: World):
    statuses = [log_in(client, password="wrong").status_code for _ in range(11)]

    refused = log_in(client)
    assert statuses == [422] * 10 + [429]
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert "Too many tries" in refused.text


def test_the_limit_of_an_account_holds_from_many_addresses(app: Flask, world: World):
    for number in range(10):
        app.test_client().post(
            "/login",
            data={"email": "owner@example.com", "password": "wrong"},
            environ_base={"REMOTE_ADDR": f"203.0.113.{number}"},
        )

    answer = app.test_client().post(
        "/login",
        data={"email": "OWNER@example.com", "password": PASSWORD},
        environ_base={"REMOTE_ADDR": "203.0.113.99"},
    )

    assert answer.status_code == 429


def test_a_forwarded_address_is_not_believed_without_a_proxy(client: FlaskClient, world: World):
    statuses = [
        client.post(
            "/login",
            data={"email": f"{n}@example.com", "password": "x"},
            headers={"X-Forwarded-For": f"203.0.113.{n}"},
        ).status_code
        for n in range(11)
    ]

    assert statuses[-1] == 429


def test_without_redis_log_ins_are_counted_in_memory_and_nobody_waits(
    client: FlaskClient, world: World, app: Flask
):
    options = app.config["RATELIMIT_STORAGE_OPTIONS"]
    limiter._limiter = FixedWindowRateLimiter(
        storage_from_string(app.config["RATELIMIT_STORAGE_URI"], **options)
    )
    limiter._fallback_limiter.storage.reset()
    began = time.monotonic()

    statuses = [log_in(client, password="wrong").status_code for _ in range(11)]

    assert statuses == [422] * 10 + [429]
    assert time.monotonic() - began < 2


def test_a_password_made_with_other_costs_is_hashed_anew(client: FlaskClient, world: World, session: Session):
    old = Passwords(time=2, memory_kib=16, lanes=1).hash(PASSWORD)
    session.execute(sa.update(User).where(User.id == world.owner.id).values(password_hash=old))
    session.commit()

    log_in(client)

    session.rollback()
    fresh = session.scalar(sa.select(User.password_hash).where(User.id == world.owner.id))
    assert fresh != old
    assert CHEAP_PASSWORDS.fits(fresh, PASSWORD)
    assert not CHEAP_PASSWORDS.is_stale(fresh)


def test_logging_out_ends_the_session(as_owner: FlaskClient):
    answer = as_owner.post("/logout")

    assert answer.location == "/login"
    assert not is_logged_in(as_owner)


def test_a_changed_password_ends_the_other_sessions_and_keeps_this_one(
    app: Flask, as_owner: FlaskClient, world: World
):
    other = app.test_client()
    log_in(other)
    assert is_logged_in(other)

    as_owner.post("/account/password", data={"current": PASSWORD, "new_password": NEW_PASSWORD})

    assert not is_logged_in(other)
    assert is_logged_in(as_owner)
    assert log_in(app.test_client(), password=NEW_PASSWORD).status_code == 302


@pytest.mark.parametrize(
    ("current", "new", "said"),
    [
        ("wrong wrong wrong", NEW_PASSWORD, "is not your password"),
        (PASSWORD, "short", "needs at least 10 characters"),
    ],
)
def test_a_password_that_does_not_fit_changes_nothing(
    as_owner: FlaskClient, app: Flask, current: str, new: str, said: str
):
    answer = as_owner.post("/account/password", data={"current": current, "new_password": new})

    assert answer.status_code == 422
    assert said in answer.text
    assert log_in(app.test_client()).status_code == 302


def test_the_theme_is_kept_and_leads_back_to_the_page(as_viewer: FlaskClient):
    answer = as_viewer.post(
        "/account/theme", data={"theme": "dark"}, headers={"Referer": "http://localhost/help"}
    )

    assert answer.location == "/help"
    assert 'data-theme="dark"' in as_viewer.get("/help").text


@pytest.mark.parametrize("referrer", ["https://evil.example/x", "http://localhost//evil.example", ""])
def test_the_theme_never_leads_to_another_site(as_viewer: FlaskClient, referrer: str):
    answer = as_viewer.post("/account/theme", data={"theme": "<x>"}, headers={"Referer": referrer})

    assert answer.location == "/"


def test_name_and_zone_are_kept(as_viewer: FlaskClient, world: World, session: Session):
    as_viewer.post(
        "/account/profile", data={"name": "<b>Vi</b>", "zone": "Asia/Tokyo", "operator": "1", "role": "owner"}
    )

    session.expire_all()
    session.rollback()
    viewer = session.get(User, world.viewer.id)
    assert (viewer.name, viewer.zone, viewer.operator) == ("<b>Vi</b>", "Asia/Tokyo", False)
    assert "<b>Vi</b>" not in as_viewer.get("/help").text


def test_a_zone_that_does_not_exist_is_refused(as_viewer: FlaskClient):
    assert (
        as_viewer.post("/account/profile", data={"name": "", "zone": "../../etc/passwd"}).status_code == 422
    )


@pytest.fixture
def invited(world: World) -> dict[str, str]:
    """An invitation of somebody new."""
    row = InvitationFactory(
        workspace_id=world.workspace.id,
        email="new@example.com",
        invited_by=world.owner.id,
        expires_at=clock.now() + timedelta(days=7),
    )
    return {"id": row.id, "path": "/invitations/the-token-of-the-link"}


NEWCOMER = {"name": "New", "password": PASSWORD, "zone": "UTC"}


def test_an_invitation_makes_an_account_and_a_member(client: FlaskClient, invited, session: Session):
    page = client.get(invited["path"])

    answer = client.post(invited["path"], data={**NEWCOMER, "role": "owner", "email": "other@example.com"})

    assert "Join Shop" in page.text
    assert answer.location == "/"
    role = sa.select(Membership.role).join(User).where(User.email == "new@example.com")
    assert session.scalar(role) is Role.EDITOR
    assert is_logged_in(client)


def test_an_invitation_works_once(app: Flask, client: FlaskClient, invited):
    client.post(invited["path"], data=NEWCOMER)

    again = app.test_client().post(invited["path"], data=NEWCOMER)

    assert again.status_code == 410
    assert "no longer works" in again.text


def test_an_invitation_is_not_good_for_ever(client: FlaskClient, invited, session: Session):
    session.execute(sa.text("UPDATE invitations SET expires_at = 1"))
    session.commit()

    assert client.post(invited["path"], data=NEWCOMER).status_code == 410


def test_a_guessed_invitation_is_not_found(client: FlaskClient, world: World):
    assert client.get("/invitations/guess").status_code == 404


def test_a_short_password_does_not_use_the_invitation_up(client: FlaskClient, invited):
    answer = client.post(invited["path"], data={**NEWCOMER, "password": "short"})

    assert answer.status_code == 422
    assert client.post(invited["path"], data=NEWCOMER).location == "/"


def test_somebody_with_an_account_logs_in_first_and_joins_with_a_button(
    client: FlaskClient, invited, session: Session
):
    UserFactory(email="new@example.com")

    asked = client.get(invited["path"])
    log_in(client, "new@example.com")
    page = client.get(invited["path"])
    answer = client.post(invited["path"])

    assert asked.location == "/login?next=/invitations/the-token-of-the-link"
    assert "Password" not in page.text
    assert answer.location == "/"
    assert is_logged_in(client)


def test_an_invitation_is_for_the_invited_only(as_stranger: FlaskClient, invited):
    assert as_stranger.post(invited["path"]).status_code == 403
