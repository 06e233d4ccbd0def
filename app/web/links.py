"""Addresses: the ones we publish, and the ones we may send a browser to."""

from typing import Any
from urllib.parse import urlsplit

from flask import request, url_for

from app.engine import core


def published(endpoint: str, **values: Any) -> str:
    """An absolute address from PUBLIC_URL, whatever Host the request named."""
    return core.current().config.public_url + url_for(endpoint, **values)


def here() -> str | None:
    """This page, to come back to after logging in; None for what is not opened by a link."""
    if request.method != "GET" or request.path == "/":
        return None
    return request.full_path.rstrip("?")


def within_site(target: str | None, otherwise: str) -> str:
    """`target` if it is a path on this site, else `otherwise`.

    Browsers read `//host`, `/\\host` and a path with tabs or line ends in it as another site.
    """
    if not target or not target.startswith("/") or target[1:2] in {"/", "\\"}:
        return otherwise
    if any(character < " " or character in "\\\x7f" for character in target):
        return otherwise
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc else otherwise


def back(otherwise: str) -> str:
    """The page whose button was pressed, if it is one of ours."""
    parts = urlsplit(request.referrer or "")
    if parts.netloc != request.host:
        return otherwise
    return within_site(parts.path + (f"?{parts.query}" if parts.query else ""), otherwise)
