"""People: accounts and who may have the first."""

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.database import writing
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import User
from app.services import users
from tests.conftest import World
from tests.factories import CHEAP_PASSWORDS, PASSWORD, PASSWORD_HASH, UserFactory


def test_an_address_is_one_whatever_its_case(session: Session):
    UserFactory(email="a@example.com")

    with pytest.raises(ConflictError, match="has an account already"), writing() as writer:
        users.add(writer, " A@EXAMPLE.com ", PASSWORD_HASH)


@pytest.mark.parametrize(
    "email", ["", "a", "a@", "@b", "a b@c", "a@b\nc", "a@b\0", "a@" + "b" * 300, "a@b@c"]
)
def test_what_is_no_address_is_refused(email: str):
    with pytest.raises(InvalidError):
        users.clean_email(email)


def test_only_the_first_person_runs_the_server(session: Session):
    with writing() as writer:
        first = users.add(writer, "a@example.com", PASSWORD_HASH).operator
        second = users.add(writer, "b@example.com", PASSWORD_HASH).operator

    assert (first, second) == (True, False)


def test_a_second_first_owner_who_was_faster_is_noticed_inside_the_transaction(session: Session):
    UserFactory()

    with pytest.raises(ConflictError, match="first owner already"), writing() as writer:
        users.reserve_first(writer)


def test_nobody_has_a_password(session: Session):
    assert (
        users.identify(session, CHEAP_PASSWORDS, "nobody@example.com", "a person who does not exist") is None
    )


def test_a_new_password_ends_the_sessions_made_before(world: World, session: Session):
    with writing() as writer:
        users.set_password(writer, world.owner.id, PASSWORD_HASH)

    assert session.scalar(sa.select(User.session_epoch).where(User.id == world.owner.id)) == 1


def test_an_unknown_person_is_not_found(session: Session):
    with pytest.raises(NotFoundError):
        users.get(session, "usr_none")


def test_an_unknown_theme_is_as_the_system(world: World, session: Session):
    with writing() as writer:
        users.set_theme(writer, world.owner.id, "<script>")

    assert session.get(User, world.owner.id).theme == "auto"


def test_the_person_with_the_right_password_is_found(world: World, session: Session):
    assert users.identify(session, CHEAP_PASSWORDS, "OWNER@example.com", PASSWORD).id == world.owner.id


def test_a_name_is_one_line():
    assert users.clean_name(" a\nb\0c ") == "a b c"
