"""Vendors' libraries, imported when first used: all of them at the start would cost seconds in every process."""

import importlib
import importlib.util
from typing import Any


class _Lazy:
    """Stands for a module; the import system's own lock makes the first use safe in threads and greenlets."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


def lazily(name: str) -> Any:
    """The module `name`, imported when something of it is first asked for.

    Raises ModuleNotFoundError at once when its package is not installed.
    """
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"{package} is not installed", name=package)
    return _Lazy(name)
