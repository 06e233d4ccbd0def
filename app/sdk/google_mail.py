"""Mails of a Gmail mailbox: searched for, read, and whom an answer goes to."""

import base64
from collections.abc import Mapping, Sequence
from email.headerregistry import Address
from typing import Any, Final

from app.sdk import mail, received
from app.sdk.context import Files
from app.sdk.errors import RejectedError
from app.sdk.google import GoogleRefusedError, google_errors

ME: Final = "me"
# Gmail's search finds a mail some time after it arrived, and several arrive in one second.
OVERLAP_S: Final = 3600
_KEYS_KEPT: Final = 2_000
_PAGES: Final = 20


def addresses(given: Sequence[Mapping[str, str]], *, but: str = "") -> list[Address]:
    """Those of a stranger's mail that are addresses; names come without what could be read as a second one."""
    found = []
    for one in given:
        try:
            address = mail.parse_address(one["address"])
        except ValueError:
            continue
        name = "".join(char for char in one["name"] if char.isprintable() and char not in '"\\<>@,;:')
        if address.addr_spec.lower() != but.lower():
            found.append(Address(name.strip(), addr_spec=address.addr_spec))
    return found


def kept(keys: list[str], listed: set[str]) -> list[str]:
    """All that the next look may list again, and others: a mail can be marked as unread, and found, once more."""
    others = [key for key in keys if key not in listed][-_KEYS_KEPT:]
    return others + [key for key in keys if key in listed]


def listed(users: Any, query: str, after: int) -> list[str]:
    """The ids of what arrived since then, the newest first."""
    text = f"({query}) after:{after}" if query.strip() else f"after:{after}"
    ids: list[str] = []
    page = None
    for _ in range(_PAGES):
        with google_errors(f"the search {query}"):
            answer = users.messages().list(userId=ME, q=text, maxResults=500, pageToken=page).execute()
        ids += [one["id"] for one in answer.get("messages", [])]
        page = answer.get("nextPageToken")
        if not page:
            break
    return ids


def read(users: Any, key: str, files: Files | None) -> tuple[int, dict[str, Any]] | None:
    """(when it arrived, what a rule sees of it); None for one that was deleted meanwhile."""
    try:
        found = users.messages().get(userId=ME, id=key, format="raw").execute()
    except GoogleRefusedError as error:
        if error.status != 404:
            raise
        return None
    except RejectedError:
        # Larger than what the guarded client takes: its headers must do.
        found = users.messages().get(userId=ME, id=key, format="metadata").execute()
    own = {"id": key, "thread_id": found["threadId"], "labels": found.get("labelIds", [])}
    said = _said(found, files)
    return int(found["internalDate"]) // 1000, own | {"snippet": found.get("snippet", "")} | said


def _said(found: Mapping[str, Any], files: Files | None) -> dict[str, Any]:
    if "raw" in found:
        return received.read(decoded(found["raw"]), files)
    headers = (f"{one['name']}: {one['value']}\r\n" for one in found["payload"]["headers"])
    return received.read("".join(headers).encode(), None) | {"problem": "it is too large to be read"}


def decoded(raw: str) -> bytes:
    return base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))
