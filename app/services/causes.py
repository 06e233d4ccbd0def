"""Causes that are alike: what differs from one failure to the next (numbers, ids, what is quoted) taken out."""

import hashlib
import re
from functools import lru_cache
from typing import Final

# What was taken out.
GAP: Final = "…"
_LONGEST: Final = 300

_ADDRESS: Final = re.compile(r"[^\s@<>\"']+@[^\s@<>\"',;]+")
_QUOTED: Final = re.compile(r"\"[^\"]*\"|“[^”]*”|«[^»]*»|`[^`]*`|(?<!\w)'[^']*'(?!\w)")
# An address is one place whatever stands behind its host.
_URL: Final = re.compile(r"(\w+://[^\s/?#]+)[^\s,;)]*")
# Ids, numbers, times: words with a digit in them.
_WORD: Final = re.compile(r"(?<![\w-])[\w-]*\d[\w-]*(?:[.:,]\d[\w-]*)*")
# The answer of a service says what to mend: 404 and 503 are two things.
_STATUS: Final = re.compile(r"[45]\d\d")
_GAPS: Final = re.compile(rf"{GAP}(?:[\s,.:;/#-]*{GAP})+")


@lru_cache(maxsize=5000)
def alike(cause: str | None) -> str:
    """The cause as it reads for all of its kind."""
    text = " ".join((cause or "").split())[:_LONGEST]
    text = _QUOTED.sub(GAP, text)
    text = _URL.sub(rf"\1/{GAP}", text)
    text = _ADDRESS.sub(GAP, text) if "@" in text else text
    return _GAPS.sub(GAP, _WORD.sub(_without, text)).strip()


def _without(found: re.Match[str]) -> str:
    return found[0] if _STATUS.fullmatch(found[0]) else GAP


def key_of(*parts: str | None) -> str:
    """The same for what is grouped together, as long as it fails; fit for an address."""
    return "flr_" + hashlib.sha256("\x1f".join(part or "" for part in parts).encode()).hexdigest()[:24]
