"""The settings without the application: importing the `app` package takes longer than a start may."""

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app import config
else:
    _FILE = Path(__file__).resolve().parents[1] / "app" / "config.py"
    _spec = importlib.util.spec_from_file_location("bitqueue_config", _FILE)
    config = importlib.util.module_from_spec(_spec)
    sys.modules[_spec.name] = config
    _spec.loader.exec_module(config)

__all__ = ["config"]
