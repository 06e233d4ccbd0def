"""Logs: one line an event on standard error, as text or JSON, without secrets."""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from app.config import Config

_MASK = "[hidden]"
_SECRET_NAME = re.compile(
    r"authorization|passw|secret|token|api_?key|cookie|credential|private_?key|signature", re.IGNORECASE
)
_SECRET_TEXT = re.compile(
    r"""(?ix)
      (?P<lead> \b(?:bearer|basic)\s+                                             # a header's value
              | ://[^/\s:@]*:                                                     # a password inside a url
              | (?:password|secret|token|api_?key|signature)["']?\s*[=:]\s*["']?  # a pair in a query or a dump
      )(?P<secret> [^\s"'&,;@}]+ )"""
)
# These libraries say much at info level, some of it (twilio: requests with their headers) not for a log.
_QUIET = ("alembic", "googleapiclient", "httpx2", "rq", "slack_sdk", "sqlalchemy", "twilio", "urllib3")
# RQ, flask-limiter: libraries whose errors say that Redis is not to be had.
_AWAY = ("redis.", "limits.errors")
_GUNICORN = ("gunicorn.error", "gunicorn.access")


class _StandardError:
    """Whatever `sys.stderr` is at the moment of writing: loggers live longer than a test's captured stream."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure(config: Config) -> None:
    """Send structlog's and the standard library's records through one formatter."""
    level = logging.getLevelNamesMapping()[config.log_level.upper()]
    rendering = _rendering(config.log_format)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_describing(), *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _StandardError())),
        cache_logger_on_first_use=True,
    )
    _route_standard_logging(level, rendering)


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Mask what is named like a secret, and what looks like one inside a text."""
    return {name: _masked(name, value) for name, value in event.items()}


def _masked(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name) and not isinstance(value, bool | int | float | None):
        return _MASK
    if isinstance(value, str):
        return _SECRET_TEXT.sub(rf"\g<lead>{_MASK}", value)
    if isinstance(value, Mapping):
        return {key: _masked(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(name, item) for item in value]
    return value


def shorten_away(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """That Redis is away is an outage and no fault: its name is told, not where each library noticed it."""
    told = event.get("exc_info")
    if isinstance(told, tuple) and type(told[1]).__module__.startswith(_AWAY):
        return {**event, "exc_info": None, "error": type(told[1]).__name__}
    return event


def _describing() -> list[Processor]:
    return [
        shorten_away,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # A plain traceback: the richer formatters print local variables, and those hold secrets.
        structlog.processors.format_exc_info,
    ]


def _rendering(log_format: str) -> list[Processor]:
    if log_format == "json":
        return [redact, structlog.processors.JSONRenderer(default=str)]
    return [
        redact,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, pad_level=False),
    ]


def _route_standard_logging(level: int, rendering: list[Processor]) -> None:
    handler = logging.StreamHandler(_StandardError())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_describing()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in _GUNICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
