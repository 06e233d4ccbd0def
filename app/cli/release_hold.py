"""`release-hold`: a restored server sends again."""

import click
from flask.cli import with_appcontext

from app.cli.plain import plainly
from app.database import writing
from app.engine import core, hold


@click.command("release-hold")
@with_appcontext
@plainly
def command() -> None:
    """Let outgoing work go on, on a server that was restored from a backup."""
    with writing() as session:
        was_held = hold.end(session.connection())
    core.current().doorbell.ring()
    click.echo("outgoing work goes on" if was_held else "nothing was held")
