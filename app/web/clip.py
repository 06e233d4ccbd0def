"""Somebody's data made fit for a page: readable as UTF-8, and no more of it than a person reads."""

from collections.abc import Mapping
from typing import Any, Final

_CHARS: Final = 40_000
# With the one that tells how many are left, as many as the tree shows.
_ITEMS: Final = 49
_DEPTH: Final = 30
_TEXT_CHARS: Final = 10_000


class _Budget:
    def __init__(self) -> None:
        self.left = _CHARS


def clipped(value: Any) -> Any:
    """The same value with long texts, long lists and what stands deep cut off, each saying so."""
    return _clipped(value, _Budget(), 0)


def _clipped(value: Any, budget: _Budget, depth: int) -> Any:
    if isinstance(value, str):
        return _text(value, budget)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if value and (budget.left <= 0 or depth > _DEPTH):
        return f"… {len(value)} more"
    if isinstance(value, Mapping):
        return _object(value, budget, depth)
    return _list(value, budget, depth)


def _object(value: Mapping[Any, Any], budget: _Budget, depth: int) -> dict[str, Any]:
    shown = {
        _text(str(name), budget): _clipped(item, budget, depth + 1)
        for name, item in list(value.items())[:_ITEMS]
    }
    if len(value) > _ITEMS:
        shown["…"] = f"and {len(value) - _ITEMS} more"
    return shown


def _list(value: list[Any] | tuple[Any, ...], budget: _Budget, depth: int) -> list[Any]:
    shown = [_clipped(item, budget, depth + 1) for item in value[:_ITEMS]]
    return [*shown, f"… and {len(value) - _ITEMS} more"] if len(value) > _ITEMS else shown


def _text(value: str, budget: _Budget) -> str:
    most = max(100, min(_TEXT_CHARS, budget.left))
    budget.left -= min(len(value), most) + 8
    shown = value if len(value) <= most else f"{value[:most]}… and {len(value) - most} more characters"
    return shown.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
