"""Gmail: one mailbox that keeps what was sent, finds it again, and labels it."""

import base64
import re
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.utils import getaddresses
from typing import Any

from tests.providers.discovery import Call
from tests.providers.google import Api, not_found, says_error
from tests.providers.http import Says

SCOPE = "https://www.googleapis.com/auth/gmail.modify"
_SYSTEM = ("INBOX", "UNREAD", "STARRED", "SENT", "TRASH", "SPAM", "IMPORTANT")
_TERM = re.compile(r'(\w+):("[^"]*"|\S+)|(\S+)')


@dataclass
class Kept:
    """A mail in the mailbox."""

    id: str
    thread: str
    raw: bytes
    at: int
    labels: list[str] = field(default_factory=list)

    @property
    def message(self) -> Message:
        return message_from_bytes(self.raw)

    def short(self) -> dict[str, Any]:
        return {"id": self.id, "threadId": self.thread}

    def shown(self) -> dict[str, Any]:
        more = {"labelIds": list(self.labels), "internalDate": str(self.at * 1000), "snippet": "so it begins"}
        return self.short() | more | {"sizeEstimate": len(self.raw)}


class GmailApi(Api):
    """`receive` puts a mail into the inbox; `mails` holds them all, `page` is how many a page lists."""

    document = "google/gmail.v1.json"

    def __init__(self) -> None:
        super().__init__()
        self.mails: dict[str, Kept] = {}
        self.labels = {name: name for name in _SYSTEM}
        self.page = 500
        self.searches: list[str] = []

    def receive(self, raw: bytes, *, at: int, labels: tuple[str, ...] = ("INBOX", "UNREAD")) -> Kept:
        key = f"18c2f1a0b7d3{len(self.mails):04x}"
        self.mails[key] = Kept(key, key, raw, at, list(labels))
        return self.mails[key]

    def users_getProfile(self, call: Call) -> Any:  # noqa: N802 (Google's name)
        return {
            "emailAddress": call.account,
            "messagesTotal": len(self.mails),
            "threadsTotal": 1,
            "historyId": "1",
        }

    def users_messages_send(self, call: Call) -> Any:
        if call.media is None or call.media_type != "message/rfc822":
            return says_error(
                400, "invalidArgument", "'raw' RFC822 payload message string or uploading message required"
            )
        message = message_from_bytes(call.media)
        people = [
            where for name in ("To", "Cc", "Bcc") for _, where in getaddresses(message.get_all(name, []))
        ]
        if not people or not all("@" in where for where in people):
            return says_error(400, "invalidArgument", "Recipient address required")
        key = f"18c2f1a0b7d3{len(self.mails):04x}"
        thread = self._thread((call.body or {}).get("threadId"), message)
        if isinstance(thread, Says):
            return thread
        self.mails[key] = Kept(key, thread or key, call.media, 1_795_251_600, ["SENT"])
        return self.mails[key].short() | {"labelIds": ["SENT"]}

    def _thread(self, asked: str | None, message: Message) -> str | Says | None:
        """A mail joins a conversation only when its headers and subject fit, too."""
        if asked is None:
            return None
        inside = [one.message for one in self.mails.values() if one.thread == asked]
        if not inside:
            return not_found()
        known = {str(one["Message-ID"]) for one in inside}
        fits = str(message["In-Reply-To"]) in known and known & set(str(message["References"]).split())
        return asked if fits else None

    def users_messages_list(self, call: Call) -> Any:
        query = call.params.get("q", "")
        self.searches.append(query)
        asked = call.params.get("labelIds", [])
        labels = {asked} if isinstance(asked, str) else set(asked)
        found = sorted(
            (one for one in self.mails.values() if _matches(one, query) and labels <= set(one.labels)),
            key=lambda one: (-one.at, one.id),
        )
        start = int(call.params.get("pageToken", "0"))
        end = start + min(call.params.get("maxResults", 100), self.page)
        answer: dict[str, Any] = {"resultSizeEstimate": len(found)}
        if found[start:end]:
            answer["messages"] = [one.short() for one in found[start:end]]
        return answer | ({"nextPageToken": str(end)} if end < len(found) else {})

    def users_messages_get(self, call: Call) -> Any:
        kept = self.mails.get(call.params["id"])
        if kept is None:
            return not_found()
        if call.params.get("format") == "raw":
            return kept.shown() | {"raw": base64.urlsafe_b64encode(kept.raw).decode()}
        headers = [{"name": name, "value": str(value)} for name, value in kept.message.items()]
        return kept.shown() | {"payload": {"headers": headers}}

    def users_messages_modify(self, call: Call) -> Any:
        kept = self.mails.get(call.params["id"])
        if kept is None:
            return not_found()
        asked = [*call.body.get("addLabelIds", []), *call.body.get("removeLabelIds", [])]
        if unknown := [one for one in asked if one not in self.labels.values()]:
            return says_error(400, "invalidArgument", f"Invalid label: {unknown[0]}")
        gone = set(call.body.get("removeLabelIds", []))
        kept.labels = list(
            dict.fromkeys(
                [*(one for one in kept.labels if one not in gone), *call.body.get("addLabelIds", [])]
            )
        )
        return kept.short() | {"labelIds": kept.labels}

    def users_labels_list(self, call: Call) -> Any:
        return {"labels": [{"id": key, "name": name, "type": "user"} for name, key in self.labels.items()]}

    def users_labels_create(self, call: Call) -> Any:
        name = call.body.get("name", "")
        if not name:
            return says_error(400, "invalidArgument", "Invalid label name")
        if name.lower() in {one.lower() for one in self.labels}:
            return says_error(409, "aborted", "Label name exists or conflicts")
        self.labels[name] = f"Label_{len(self.labels)}"
        return {"id": self.labels[name], "name": name}


def _matches(kept: Kept, query: str) -> bool:
    terms = _TERM.findall(query.replace("(", " ").replace(")", " "))
    return all(_fits(kept, name.lower(), (value or word).strip('"').lower()) for name, value, word in terms)


def _fits(kept: Kept, name: str, value: str) -> bool:
    match name:
        case "after":
            return kept.at > int(value)
        case "in" | "is" | "label":
            return value in {one.lower() for one in kept.labels}
        case "from" | "to" | "subject":
            return value in str(kept.message[name]).lower()
    return value in kept.raw.decode(errors="replace").lower()
