"""Where a trigger got to at each place it looked at: an edit that leads it away and back loses nothing."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from app.models import Trigger
from app.sdk.declare import Catalogue
from app.sdk.fields import place_of

# The oldest goes first.
_MOST: Final = 3


def moved(catalogue: Catalogue, trigger: Trigger, part: Mapping[str, Any]) -> dict[str, Any]:
    """What changes in the row besides what `part`, a definition's trigger, says itself.

    At another place it begins anew, or goes on where it left off there.
    """
    if trigger.type == part["type"] and trigger.params == part["params"]:
        return {}
    old = _place(catalogue, trigger.type, trigger.params)
    new = _place(catalogue, part["type"], part["params"])
    if old == new:
        return {"next_due_at": None}
    known = dict(trigger.left_off or {})
    found = known.pop(new, {"cursor": None, "recent_keys": []})
    if trigger.cursor is not None or trigger.recent_keys:
        known.pop(old, None)
        known[old] = {"cursor": trigger.cursor, "recent_keys": trigger.recent_keys}
    return {
        "cursor": found["cursor"],
        "recent_keys": found["recent_keys"],
        "left_off": dict(list(known.items())[-_MOST:]) or None,
        "last_error": None,
        "next_due_at": None,
        "missed": 0,
        "missed_from": None,
        "missed_until": None,
    }


def _place(catalogue: Catalogue, type_: str, params: Mapping[str, Any]) -> str:
    declared = catalogue.trigger(type_)
    place = place_of(declared.params, params) if declared else params
    text = json.dumps([type_, place], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
