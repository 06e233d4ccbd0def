"""`keys`: the key ring that seals connections and hook addresses."""

import base64
import os

import click
from flask.cli import AppGroup, with_appcontext

from app import clock
from app.cli.plain import plainly
from app.database import db
from app.engine import core
from app.services import resealing

command = AppGroup("keys", help="The keys that seal secrets: make one, go over to it.")


@command.command("new")
@with_appcontext
@plainly
def new() -> None:
    """Print an entry for the front of CREDENTIAL_KEYS."""
    key_id = f"k{clock.now():%Y%m%d%H%M%S}"
    click.echo("put this in front of CREDENTIAL_KEYS, restart, then run: keys rotate", err=True)
    click.echo(f"{key_id}:{base64.urlsafe_b64encode(os.urandom(32)).decode()}")


@command.command("rotate")
@with_appcontext
@plainly
def rotate() -> None:
    """Seal everything with the first key of CREDENTIAL_KEYS, in batches, while BitQueue runs.

    It may be stopped and started again at any time; the older keys are needed until it is through.
    """
    keyring = core.current().keyring
    unopened = 0
    for kind in resealing.KINDS:
        count = resealing.reseal(db.engine, keyring, kind)
        unopened += len(count.unopened)
        click.echo(
            f"{kind.noun}: {count.resealed} sealed anew, {count.current} had the key {keyring.current} already"
        )
        for row_id in count.unopened:
            click.echo(
                f"{row_id} does not open with any key of CREDENTIAL_KEYS; it was left as it is", err=True
            )
    if unopened:
        raise click.ClickException("keep the older keys: not everything could be opened")
