"""`clock`: the process that keeps rq-scheduler turning, whose one entry is the tick."""

import click
from flask.cli import with_appcontext

from app.engine import core, doorbell


@click.command("clock")
@with_appcontext
def command() -> None:
    """Ring for the tick, each second, until stopped."""
    doorbell.run_clock(core.current().config.redis_url)
