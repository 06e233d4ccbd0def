"""The command line, as an operator types it."""

import base64

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from app.models import Connection, Membership, Role, User, Workspace
from app.services import api_keys
from tests.conftest import World
from tests.factories import CHEAP_PASSWORDS, PASSWORD, ConnectionFactory


@pytest.fixture
def cli(app: Flask):
    runner = app.test_cli_runner()

    def call(*args: str, typed: str = PASSWORD + "\n"):
        return runner.invoke(args=args, input=typed)

    return call


def test_the_first_person_becomes_owner_and_operator(cli, session: Session):
    done = cli("user", "add", "First@example.com", "--password-stdin", "--workspace", "Shop")

    user = session.scalars(sa.select(User)).one()
    assert done.exit_code == 0
    assert done.output == "first@example.com is owner now\n"
    assert (user.email, user.operator) == ("first@example.com", True)
    assert CHEAP_PASSWORDS.fits(user.password_hash, PASSWORD)
    assert session.scalars(sa.select(Workspace.name)).one() == "Shop"


def test_the_next_person_joins_in_the_role_that_is_said(cli, world: World, session: Session):
    cli("user", "add", "next@example.com", "--password-stdin", "--role", "viewer", "--workspace", "Elsewhere")

    query = (
        sa.select(Membership.role, Membership.workspace_id).join(User).where(User.email == "next@example.com")
    )
    assert session.execute(query).one() == (Role.VIEWER, world.other_workspace.id)


@pytest.mark.parametrize(
    ("args", "typed", "said"),
    [
        (("user", "add", "owner@example.com", "--password-stdin"), PASSWORD, "has an account already"),
        (("user", "add", "x@example.com", "--password-stdin"), "short\n", "needs at least 10 characters"),
        (("user", "add", "x@example.com", "--password-stdin"), "", "needs at least 10 characters"),
        (("user", "add", "nonsense", "--password-stdin"), PASSWORD, "must be an e-mail address"),
        (("user", "password", "no@example.com", "--password-stdin"), PASSWORD, "nobody has the address"),
        (("api-key", "add", "no@example.com"), "", "nobody has the address"),
        (
            ("api-key", "add", "owner@example.com", "--workspace", "Elsewhere"),
            "",
            "is in no workspace called Elsewhere",
        ),
        (("api-key", "add", "viewer@example.com"), "", "this needs the role editor"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_one(cli, world: World, args: tuple, typed: str, said: str):
    done = cli(*args, typed=typed)

    assert done.exit_code == 1
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_a_new_password_ends_the_sessions(cli, world: World, session: Session):
    cli("user", "password", "owner@example.com", "--password-stdin", typed="another long password\n")

    user = session.get(User, world.owner.id, populate_existing=True)
    assert CHEAP_PASSWORDS.fits(user.password_hash, "another long password")
    assert user.session_epoch == 1


def test_a_password_may_be_typed(cli, session: Session):
    done = cli("user", "add", "first@example.com", typed=f"{PASSWORD}\n{PASSWORD}\n")

    assert done.exit_code == 0
    assert PASSWORD not in done.output


def test_everybody_is_listed_with_their_roles(cli, world: World):
    done = cli("user", "list")

    assert "owner@example.com\toperator\towner of Shop\n" in done.stdout
    assert "stranger@example.com\t-\towner of Elsewhere\n" in done.stdout


def test_a_key_stands_alone_on_the_last_line(cli, world: World, session: Session):
    done = cli("api-key", "add", "member@example.com", "--read-only", "--name", "import")

    actor = api_keys.authenticate(session, done.stdout.splitlines()[-1])
    assert len(done.stdout.splitlines()) == 1
    assert (actor.email, actor.scopes) == ("member@example.com", {"read"})


def test_keys_are_listed_without_saying_them(cli, world: World):
    text = cli("api-key", "add", "member@example.com").stdout.strip()

    done = cli("api-key", "list", "owner@example.com")

    assert text not in done.stdout
    assert f"{text[:9]}…\tread,write\tnever used\tmember@example.com\tcommand line\n" in done.stdout


def test_a_new_key_for_the_ring_is_32_bytes(cli):
    line = cli("keys", "new").stdout.strip()

    assert len(base64.urlsafe_b64decode(line.partition(":")[2])) == 32


def test_rotating_says_how_much_was_sealed_anew(cli, app: Flask, world: World, session: Session):
    row = ConnectionFactory(workspace_id=world.workspace.id)
    row.sealed = app.extensions["engine"].keyring.seal(b"{}", bound_to=row.id)
    session.commit()

    done = cli("keys", "rotate")

    assert done.exit_code == 0
    assert "connections: 0 sealed anew, 1 had the key k1 already" in done.output


def test_rotating_names_what_does_not_open_and_fails(cli, world: World, session: Session):
    row = ConnectionFactory(workspace_id=world.workspace.id, sealed="gone.AAAA")

    done = cli("keys", "rotate")

    assert done.exit_code == 1
    assert row.id in done.stderr
    assert session.scalar(sa.select(Connection.sealed)) == "gone.AAAA"


def test_a_release_of_a_current_database_does_nothing(cli):
    done = cli("release")

    assert done.exit_code == 0
    assert done.stdout == ""
    assert "the database is at 0" in done.stderr
