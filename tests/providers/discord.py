"""Discord's webhooks, judged by Discord's own OpenAPI document."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from tests.providers.http import Received, Says, http_server, says_json
from tests.providers.openapi_part import Part

ID = "123456789012345678"
TOKEN = "AbCdEfGhIjKlMnOpQrSt"
URL = f"https://discord.com/api/webhooks/{ID}/{TOKEN}"
THREAD, ARCHIVED = "1440000000000000007", "1440000000000000008"
_CHANNEL = "1440000000000000000"
_PREFIX = "/api/v10"


@dataclass
class Channel:
    """Whatever is set here may be changed at any time."""

    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    # Answers to be given next, before anything else.
    next: list[Says] = field(default_factory=list)
    objections: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    def answer(self, request: Received) -> Says:
        self.received.append(request)
        if self.next:
            return self.next.pop(0)
        if found := objection(request):
            self.objections.append(found)
            return refuses(400, 50035, "Invalid Form Body")
        if request.path != f"{_PREFIX}/webhooks/{ID}/{TOKEN}":
            known = f"/webhooks/{ID}/" in request.path
            return (
                refuses(401, 50027, "Invalid Webhook Token")
                if known
                else refuses(404, 10015, "Unknown Webhook")
            )
        return self._post(request) if request.method == "POST" else self._about()

    def _about(self) -> Says:
        known = {"id": ID, "type": 1, "name": "Orders", "avatar": None, "channel_id": _CHANNEL}
        return says_json(known | {"application_id": None, "guild_id": "1", "token": TOKEN})

    def _post(self, request: Received) -> Says:
        body = request.json()
        thread = request.query.get("thread_id", [None])[0]
        if thread == ARCHIVED:
            return refuses(400, 50083, "Thread is archived")
        if thread not in {None, THREAD}:
            return refuses(404, 10003, "Unknown Channel")
        if not body.get("content") and not body.get("embeds"):
            return refuses(400, 50006, "Cannot send an empty message")
        self.messages.append(body | {"thread": thread})
        if request.query.get("wait") != ["true"]:
            return Says(204)
        return says_json({"id": str(1440000000000000000 + len(self.messages)), "channel_id": _CHANNEL})


@cache
def specification() -> Part:
    return Part("discord/openapi.json", ["/webhooks/{webhook_id}/{webhook_token}"])


def objection(request: Received) -> str | None:
    """What Discord's specification has against a request; its schemas would let names pass that nobody knows."""
    judge = specification()
    if found := judge.objection(replace(request, path=request.path.removeprefix(_PREFIX))):
        return found
    known = judge.document["components"]["schemas"]["IncomingWebhookRequestPartial"]["properties"]
    unknown = request.json().keys() - known if request.method == "POST" else set()
    return f"unknown field {min(unknown)}" if unknown else None


def refuses(status: int, code: int, message: str) -> Says:
    return says_json({"code": code, "message": message}, status)


def busy(after_s: int) -> Says:
    return too_many(after_s)


def too_many(seconds: float) -> Says:
    body = {"message": "You are being rate limited.", "retry_after": seconds, "global": False}
    return says_json(body, 429, **{"Retry-After": str(int(seconds) + 1)})


@contextmanager
def discord_server() -> Iterator[Channel]:
    channel = Channel()
    with http_server(channel.answer) as stand_in:
        channel.url = stand_in.url
        yield channel
