"""Samples: what an integration's actions and triggers are shown and tried with, kept as data beside its file."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Sample", "samples_beside"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Params that make sense and what they give: feeds the form, the picker, dry-runs and the contract tests."""

    params: Mapping[str, Any]
    output: Mapping[str, Any]


def samples_beside(module: str) -> Mapping[str, list[dict[str, Any]]]:
    """`samples/<key>.json` beside the module's file, by function; nothing where there is no such file."""
    source = getattr(sys.modules.get(module), "__file__", None)
    if source is None:
        return {}
    file = Path(source).parent / "samples" / f"{Path(source).stem}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
