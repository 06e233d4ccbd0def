"""The JSON API: every blueprint of this package, found by name and answering every error as a problem."""

import importlib
import pkgutil

from flask import Blueprint, Flask

from app.api import edge, problems
from app.extensions import csrf


def register(app: Flask) -> None:
    """Mount the API on `app`; a module takes part by having a global `blueprint`."""
    problems.answer_unrouted(app)
    for blueprint in _blueprints():
        problems.answer_errors(blueprint)
        csrf.exempt(blueprint)
        app.register_blueprint(blueprint)
    app.after_request(edge.show_limit)


def _blueprints() -> list[Blueprint]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    found = [vars(module).get("blueprint") for module in modules]
    return [blueprint for blueprint in found if isinstance(blueprint, Blueprint)]
