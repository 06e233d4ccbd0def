"""`release`: bring the database to this version, or say why not."""

import click
from flask import current_app
from flask.cli import with_appcontext

from app.cli.plain import plainly
from app.database import db
from app.engine import core
from app.services import schema


@click.command("release")
@with_appcontext
@plainly
def command() -> None:
    """Bring the database up to this version of BitQueue."""
    revision = schema.upgrade(
        db.engine, schema.alembic_of(current_app), home=core.current().config.bitqueue_home
    )
    click.echo(f"the database is at {revision}", err=True)
