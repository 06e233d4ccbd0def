"""Where a secret may be sent, and how it is hidden in what comes back."""

import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from app.sdk.errors import RejectedError
from app.sdk.urls import parse_url

# Shorter ones could not be hidden in answers without garbling them.
MIN_SECRET_CHARS: Final = 4

_USUAL_PORTS: Final = frozenset({80, 443})


def require_named_host(url: str, hosts: str) -> None:
    """Raises RejectedError unless `hosts` (`api.example.com, other.example:8443`) names the host of `url`."""
    target = parse_url(url)
    if authority(url) not in authorities(hosts):
        raise RejectedError(
            f"the connection does not name {target.authority}; add it to the hosts of the connection"
        )


def authorities(hosts: str) -> list[str | None]:
    """Each named host as the HTTP client will understand it; None for what is no host."""
    named = (host.strip() for host in hosts.split(","))
    return [None if "/" in host else authority(f"http://{host}") for host in named if host] or [None]


def authority(url: str) -> str | None:
    """Host, and port where it is not the usual one; None for what is no URL."""
    try:
        target = parse_url(url)
    except RejectedError:
        return None
    return target.host if target.port in _USUAL_PORTS else f"{target.host}:{target.port}"


def spellings(*secrets: str) -> tuple[str, ...]:
    """A secret as it is, in a URL and in JSON, longest first."""
    forms = {form for text in secrets for form in (text, quote(text, safe=""), json.dumps(text)[1:-1])}
    return tuple(sorted(forms, key=len, reverse=True))


def mask(text: str, secrets: Iterable[str]) -> str:
    """Services that echo a request must not bring its secret into what is stored and shown."""
    for secret in secrets:
        text = text.replace(secret, "••••")
    return text
