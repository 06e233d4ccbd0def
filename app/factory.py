"""The whole application: pages, API and commands on what every process stands on."""

from datetime import timedelta
from typing import Any

from flask import Flask, Request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface

from app import __version__, api, cli, foundation, web
from app.config import Config
from app.engine import doorbell
from app.extensions import init_extensions
from app.services import schema
from app.services.passwords import Passwords

_PAGE_BODY_BYTES = 1024 * 1024
_SESSIONLESS = ("/hooks/", "/api/v1/", "/enqueue", "/status/", "/healthz", "/static/")
_SESSION_LIFE = timedelta(days=14)
# Counting log-ins must never make a page wait: a Redis that is slow or away is replaced by this process's memory.
_REDIS_TIMEOUT_S = 0.3


def create_app(config: Config) -> Flask:
    """The application for one set of settings; opens no connection."""
    app = foundation.lay(config)
    app.config.from_mapping(flask_settings(config))
    app.session_interface = PageSessions()
    app.extensions["passwords"] = Passwords()
    init_extensions(app)
    schema.init_migrations(app)
    web.register(app, config)
    api.register(app)
    cli.register(app)
    return app


class PageSessions(SecureCookieSessionInterface):
    """Sessions are for pages: a program's call neither has one nor pays for looking."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if request.path.startswith(_SESSIONLESS):
            return self.make_null_session(app)
        return super().open_session(app, request)


def flask_settings(config: Config) -> dict[str, Any]:
    """Our settings in the words of Flask and its extensions."""
    counting = doorbell.connect(config.redis_url, timeout_s=_REDIS_TIMEOUT_S)
    return {
        "SECRET_KEY": config.secret_key.get_secret_value(),
        "MAX_CONTENT_LENGTH": _PAGE_BODY_BYTES,
        "MAX_FORM_MEMORY_SIZE": _PAGE_BODY_BYTES,
        "PERMANENT_SESSION_LIFETIME": _SESSION_LIFE,
        "SESSION_COOKIE_NAME": "bq_session",
        "SESSION_COOKIE_SECURE": config.public_url.startswith("https://"),
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "TEMPLATES_AUTO_RELOAD": False,
        "VERSION": __version__,
        # Checked by app.web after access, and only for pages; a token lives as long as its session.
        "WTF_CSRF_CHECK_DEFAULT": False,
        "WTF_CSRF_TIME_LIMIT": None,
        "RATELIMIT_STORAGE_URI": config.redis_url.replace("unix://", "redis+unix://", 1),
        "RATELIMIT_STORAGE_OPTIONS": {"connection_pool": counting.connection_pool, "wrap_exceptions": True},
        "RATELIMIT_IN_MEMORY_FALLBACK_ENABLED": True,
        "RATELIMIT_SWALLOW_ERRORS": True,
    }
