"""Mails of a Gmail mailbox: searched for, read, labelled, sent, and whom an answer goes to."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Any, Final

from app.sdk import mail, received
from app.sdk.context import Context, Files
from app.sdk.errors import RejectedError, TemporaryError
from app.sdk.google import GoogleRefusedError, google_errors, upload
from app.sdk.mail_fields import Written

ME: Final = "me"
# Gmail's search finds a mail some time after it arrived, and several arrive in one second.
OVERLAP_S: Final = 3600
_KEYS_KEPT: Final = 2_000
_PAGES: Final = 20
# The most that the discovery document allows for sending.
_MAX_MAIL_BYTES: Final = 36_700_160
_MAX_REFERENCES_CHARS: Final = 900
# By it a mail is found again among those that were sent.
_TASK: Final = "X-BitQueue-Task"
_SENT_LOOKED_AT: Final = 50


def send(
    ctx: Context, users: Any, headers: Mapping[str, Any], written: Written, *, thread: str = ""
) -> dict[str, Any]:
    """Sends a mail, into a conversation if one is named; raises RejectedError when it is too large."""
    attachments = mail.attached(ctx.files, written.attachments)
    headers = {**headers, _TASK: ctx.idempotency_key}
    composed = mail.compose(headers, written.text, written.html, at=ctx.now)
    message = mail.outgoing(composed, attachments, ctx.files, smtp=False)
    if len(message) > _MAX_MAIL_BYTES:
        raise RejectedError(
            f"the mail has {len(message) // 1024**2} MB, and Gmail takes 35; send fewer files"
        )
    media = upload(b"".join(message), "message/rfc822")
    body = {"threadId": thread} if thread else {}
    with google_errors("this mail"):
        sent = users.messages().send(userId=ME, body=body, media_body=media).execute()
    return {"id": sent["id"], "thread_id": sent["threadId"], "to": [one.addr_spec for one in headers["To"]]}


def sent_before(ctx: Context, users: Any, since: datetime) -> dict[str, Any] | None:
    """What `send` gave for this task, from the mails sent since then; None when there is none.

    By the label, not by a search: a search finds a mail only some time later.
    """
    answer = users.messages().list(userId=ME, labelIds=["SENT"], maxResults=_SENT_LOOKED_AT).execute()
    for one in answer.get("messages", []):
        found = (
            users.messages()
            .get(userId=ME, id=one["id"], format="metadata", metadataHeaders=[_TASK, "To"])
            .execute()
        )
        if int(found["internalDate"]) < since.timestamp() * 1000:
            return None
        headers = {each["name"].lower(): each["value"] for each in found["payload"].get("headers", [])}
        if headers.get(_TASK.lower()) == ctx.idempotency_key:
            to = [address for _, address in getaddresses([headers.get("to", "")])]
            return {"id": found["id"], "thread_id": found["threadId"], "to": to}
    if answer.get("nextPageToken"):
        raise TemporaryError("more mails were sent meanwhile than can be looked at")
    return None


def answer_headers(before: Mapping[str, Any], own: str | None) -> dict[str, Any]:
    """Of an answer to a mail as `received.read` gives it; to everybody where our `own` address is given."""
    said, threading = before["subject"], [*before["references"], before["message_id"]]
    return {
        "To": addresses(before["reply_to"] or [before["from"]]),
        "Cc": [] if own is None else addresses(before["to"] + before["cc"], but=own),
        "Subject": said if said.lower().startswith("re:") else f"Re: {said}",
        "In-Reply-To": before["message_id"],
        "References": " ".join(one for one in threading if one)[-_MAX_REFERENCES_CHARS:].lstrip(),
    }


def labels(users: Any, wanted: Sequence[str]) -> dict[str, str]:
    """The ids of all labels by their names in small letters; those of `wanted` that are missing are made."""
    there = users.labels().list(userId=ME).execute().get("labels", [])
    known = {one["name"].lower(): one["id"] for one in there}
    return known | {name.lower(): _made(users, name) for name in wanted if name.lower() not in known}


def _made(users: Any, name: str) -> str:
    with google_errors(f"the label {name}"):
        made: str = users.labels().create(userId=ME, body={"name": name}).execute()["id"]
    return made


def label_ids(names: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """Raises RejectedError for a name that is not known."""
    if unknown := [name for name in names if name.lower() not in known]:
        raise RejectedError(f"gmail has no label {unknown[0][:80]}; make it there or choose another one")
    return [known[name.lower()] for name in names]


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


def last(users: Any, query: str, most: int) -> list[str]:
    """The ids of the last mails that a search finds, the oldest first."""
    if not most:
        return []
    answer = users.messages().list(userId=ME, q=query, maxResults=most).execute()
    return [one["id"] for one in answer.get("messages", [])][::-1]


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
