"""What of a task's params may be shown: the rest becomes dots before it is stored or displayed."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

DOTS = "••••••"
_SECRET_NAME = re.compile(
    r"authorization|cookie|passw|secret|credential|signature|access[-_]?token"
    r"|(^|[-_ .])(token|api[-_]?key|apikey|key)$",
    re.IGNORECASE,
)
_HARMLESS = frozenset({"idempotency-key", "idempotency_key", "key"})


def mask(value: Any, name: str = "") -> Any:
    """The value with every secret-looking member, header and query parameter hidden."""
    if isinstance(value, Mapping):
        return {key: mask(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item, name) for item in value]
    if value not in (None, "") and looks_secret(name):
        return DOTS
    if isinstance(value, str) and value.startswith(("http://", "https://")) and "?" in value:
        return _mask_query(value)
    return value


def looks_secret(name: str) -> bool:
    return name.lower() not in _HARMLESS and _SECRET_NAME.search(name) is not None


def _mask_query(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if not any(looks_secret(name) for name, _ in pairs):
        return url
    shown = [(name, DOTS if looks_secret(name) else value) for name, value in pairs]
    return urlunsplit(parts._replace(query=urlencode(shown).replace(quote(DOTS), DOTS)))
