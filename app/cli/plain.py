"""Refusals on the command line: one plain sentence and exit code 1, no traceback."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click
from sqlalchemy.exc import DBAPIError

from app.errors import BitQueueError, InvalidError

F = TypeVar("F", bound=Callable[..., Any])


def plainly(function: F) -> F:
    """Turns what BitQueue refuses into click's own error."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except InvalidError as error:
            details = "; ".join(f"{name} {text}" for name, text in error.fields.items())
            raise click.ClickException(details or str(error)) from error
        except BitQueueError as error:
            raise click.ClickException(str(error)) from error
        except DBAPIError as error:
            text = str(error.orig).partition("\n")[0]
            raise click.ClickException(
                f"the database cannot be used ({text}); is it migrated and running"
            ) from error

    return call  # type: ignore[return-value]
