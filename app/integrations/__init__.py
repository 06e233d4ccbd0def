"""The services BitQueue can use: one file each, found by name."""

import importlib
import pkgutil

from app.sdk.declare import Catalogue, Integration


def load() -> Catalogue:
    """Import every integration of this package; the file `slack.py` declares its `Integration` as a global."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return Catalogue({name: _declared(name) for name in names})


def _declared(name: str) -> Integration:
    module = importlib.import_module(f"{__name__}.{name}")
    return next(value for value in vars(module).values() if isinstance(value, Integration))
