"""Vendors' libraries, imported when first used: all of them at the start would cost seconds in every process."""

import importlib.util
import sys
from types import ModuleType
from typing import Any


def lazily(name: str) -> Any:
    """The module `name`, which is executed when something of it is first asked for.

    Raises ModuleNotFoundError at once when it is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{name} is not installed", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
