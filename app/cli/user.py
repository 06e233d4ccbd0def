"""`user`: people, from the machine that BitQueue runs on."""

import sys

import click
from flask import current_app
from flask.cli import AppGroup, with_appcontext
from sqlalchemy.orm import Session

from app.cli.plain import plainly
from app.database import db, writing
from app.errors import NotFoundError
from app.models import Role, User, Workspace
from app.services import team, users

command = AppGroup("user", help="People: add one, set a password, list them.")

_ROLES = click.Choice([role.value for role in Role])
_FIRST_WORKSPACE = "My workspace"
_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


@command.command("add")
@click.argument("email")
@_stdin
@click.option(
    "--role", type=_ROLES, default=None, help="In the workspace; editor unless said. The first is owner."
)
@click.option("--workspace", default=None, help="Its name; made if there is none. Otherwise the oldest.")
@click.option("--name", default="", help="What the person is called.")
@with_appcontext
@plainly
def add(email: str, *, password_stdin: bool, role: str | None, workspace: str | None, name: str) -> None:
    """Make an account for EMAIL. The first person becomes owner and operator."""
    password_hash = _read_hash(password_stdin=password_stdin)
    with writing() as session:
        user = users.add(session, email, password_hash, name=name)
        place = _find_place(session, workspace)
        if place is None:
            made = team.create_workspace(session, user, workspace or _FIRST_WORKSPACE)
        else:
            made = team.join(session, user, place.id, Role(role) if role else Role.EDITOR)
    click.echo(f"{made.email} is {made.role} now")


def _find_place(session: Session, name: str | None) -> Workspace | None:
    return team.find_workspace(session, name) if name else team.oldest_workspace(session)


@command.command("password")
@click.argument("email")
@_stdin
@with_appcontext
@plainly
def password(email: str, *, password_stdin: bool) -> None:
    """Set the password of EMAIL and end their sessions."""
    password_hash = _read_hash(password_stdin=password_stdin)
    with writing() as session:
        users.set_password(session, known(session, email).id, password_hash)
    click.echo(f"the password of {email} is set; their sessions are ended")


@command.command("list")
@with_appcontext
@plainly
def list_() -> None:
    """Everybody, with their workspaces and roles."""
    session = db.session()
    for user in users.listing(session):
        places = ", ".join(f"{place.role} of {place.name}" for place in team.places(session, user.id))
        click.echo(f"{user.email}\t{'operator' if user.operator else '-'}\t{places or '-'}")


def known(session: Session, email: str) -> User:
    user = users.find(session, email)
    if user is None:
        raise NotFoundError(f"nobody has the address {email}; see: user list")
    return user


def _read_hash(*, password_stdin: bool) -> str:
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    made: str = current_app.extensions["passwords"].hash(password)
    return made
