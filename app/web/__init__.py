"""The pages: every blueprint of this package, who may see it, and the headers that protect it."""

import importlib
import pkgutil

from flask import Blueprint, Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from app.config import Config
from app.web.access import guard
from app.web.errors import show_errors
from app.web.filters import add_filters
from app.web.shell import add_shell

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A browser holds a form's redirects to this, too: a page whose form leads elsewhere names that in `g.form_targets`.
_OWN_FORMS = "form-action 'self'"
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_HSTS = "max-age=31536000"


def register(app: Flask, config: Config) -> None:
    """Mount the pages on `app`; a module takes part by having a global `blueprint`."""
    blueprints = find_blueprints()
    guard(app, frozenset(blueprint.name for blueprint in blueprints))
    show_errors(app)
    add_filters(app)
    add_shell(app)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    _protect(app, https=config.public_url.startswith("https://"))


def find_blueprints() -> list[Blueprint]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    found = [vars(module).get("blueprint") for module in modules]
    # Several modules may add their routes to one blueprint.
    return list(dict.fromkeys(blueprint for blueprint in found if isinstance(blueprint, Blueprint)))


def _protect(app: Flask, *, https: bool) -> None:
    if https:
        # TLS ends at a proxy in front: the last address it added is the caller's. Its host and scheme are
        # not taken over, links are made from PUBLIC_URL.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=0, x_host=0)  # type: ignore[method-assign]

    def add_headers(answer: Response) -> Response:
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        if targets := g.pop("form_targets", ""):
            answer.headers["Content-Security-Policy"] = _POLICY.replace(_OWN_FORMS, f"{_OWN_FORMS} {targets}")
        if https:
            answer.headers.setdefault("Strict-Transport-Security", _HSTS)
        if request.endpoint != "static":
            answer.headers.setdefault("Cache-Control", "no-store")
        return answer

    app.after_request(add_headers)
