"""`api-key`: keys for programs, from the machine that BitQueue runs on."""

import click
from flask.cli import AppGroup, with_appcontext
from sqlalchemy.orm import Session

from app.cli.plain import plainly
from app.cli.user import known
from app.database import db, writing
from app.errors import NotFoundError
from app.models import ApiKey
from app.services import api_keys, team
from app.services.access import Actor

command = AppGroup("api-key", help="Keys for the JSON API: make one, list them.")

_workspace = click.option("--workspace", default=None, help="Its name; otherwise the person's oldest.")


@command.command("add")
@click.argument("email")
@click.option("--read-only", is_flag=True, help="The key may look at everything and change nothing.")
@click.option("--name", default="command line", help="What the key is called.", show_default=True)
@_workspace
@with_appcontext
@plainly
def add(email: str, *, read_only: bool, name: str, workspace: str | None) -> None:
    """Make a key that acts for EMAIL; the last line is the key, shown this once."""
    with writing() as session:
        _, text = api_keys.create(session, _actor(session, email, workspace), name, read_only=read_only)
    click.echo(f"a key for {email}, called {name}; it is shown this once", err=True)
    click.echo(text)


@command.command("list")
@click.argument("email")
@_workspace
@with_appcontext
@plainly
def list_(email: str, *, workspace: str | None) -> None:
    """The keys of the workspace that EMAIL belongs to."""
    session = db.session()
    for key in api_keys.listing(session, _actor(session, email, workspace)):
        click.echo(f"{key.prefix}…\t{','.join(key.scopes)}\t{_state(key)}\t{key.user.email}\t{key.name}")


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    return f"used {key.last_used_at:%Y-%m-%d}" if key.last_used_at else "never used"


def _actor(session: Session, email: str, workspace: str | None) -> Actor:
    user = known(session, email)
    place = team.find_workspace(session, workspace) if workspace else None
    actor = team.actor_for(session, user.id, place.id if place else None)
    if actor is None or (workspace and (place is None or actor.workspace_id != place.id)):
        raise NotFoundError(f"{email} is in no workspace{f' called {workspace}' if workspace else ''}")
    return actor
