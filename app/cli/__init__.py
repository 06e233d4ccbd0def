"""The command line: every command of this package, `flask --app wsgi <command>` or `./run cli <command>`."""

import importlib
import pkgutil

import click
from flask import Flask


def register(app: Flask) -> None:
    """Add each module's global `command` to Flask's own."""
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        command = vars(importlib.import_module(f"{__name__}.{name}")).get("command")
        if isinstance(command, click.Command):
            app.cli.add_command(command)
