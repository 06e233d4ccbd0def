"""Slack's Web API: an app in a workspace, judged by Slack's own list of methods and arguments."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from tests.providers.http import Received, Says, http_server, says_json
from tests.providers.specs import spec_path

TOKEN = "xoxb-1234567890-AbCdEfGhIjKl"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"

# Younger than Slack's file, which ends in 2021: https://docs.slack.dev/reference/methods
_YOUNGER = {
    "files.getUploadURLExternal": ({"filename", "length"}, {"alt_txt", "snippet_type"}),
    "files.completeUploadExternal": (
        {"files"},
        {"channel_id", "channels", "initial_comment", "thread_ts", "blocks"},
    ),
}
_ALSO = {
    "chat.postMessage": {"metadata": "object"},
    "conversations.history": {"include_all_metadata": "boolean"},
    "conversations.replies": {"include_all_metadata": "boolean"},
}
_EMOJI = {"white_check_mark", "eyes"}
_KINDS = {"boolean": (bool, str), "integer": (int, str), "string": (str,), "number": (int, float, str),
          "object": (dict,)}  # fmt: skip
# The file says text, and the library sends the lists themselves, which Slack takes in JSON.
_LISTS = {"blocks", "attachments"}


@cache
def methods() -> dict[str, dict[str, dict[str, Any]]]:
    """Method → argument → what the specification says of it."""
    paths = json.loads(spec_path("slack/slack_web_openapi_v2_without_examples.json").read_text())["paths"]
    known = {
        path[1:]: {argument["name"]: argument for argument in next(iter(verbs.values()))["parameters"]}
        for path, verbs in paths.items()
    }
    for name, (needed, may) in _YOUNGER.items():
        known[name] = {each: {"required": each in needed, "type": "string"} for each in needed | may}
    for name, more in _ALSO.items():
        known[name] |= {each: {"type": kind} for each, kind in more.items()}
    return known


def objection(method: str, given: dict[str, Any]) -> str | None:
    """What Slack's specification has against a call; None if nothing."""
    described = methods().get(method)
    if described is None:
        return "unknown_method"
    if unknown := given.keys() - described.keys():
        return f"unexpected argument {min(unknown)}"
    for name, about in described.items():
        if name == "token":
            continue
        if about.get("required") and given.get(name) in (None, ""):
            return f"missing argument {name}"
        types = (list,) if name in _LISTS and not isinstance(given.get(name), str) else _KINDS[about["type"]]
        if name in given and not isinstance(given[name], types):
            return f"argument {name} is no {about['type']}"
    return None


@dataclass
class Workspace:
    """Whatever is set here may be changed at any time."""

    url: str = ""
    channels: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "C0123456789": {"name": "orders", "member": True, "archived": False},
            "C0000000002": {"name": "old", "member": True, "archived": True},
            "C0000000003": {"name": "other", "member": False, "archived": False},
        }
    )
    people: dict[str, str] = field(default_factory=lambda: {"ada@example.com": "U0123456789"})
    messages: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    reactions: set[tuple[str, str, str]] = field(default_factory=set)
    uploads: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    scopes: set[str] = field(
        default_factory=lambda: {
            "chat:write", "reactions:write", "files:write", "users:read.email", "channels:join", "im:write",
            "channels:history",
        }
    )  # fmt: skip
    # Answers to be given next, before anything else: by method, or to any.
    next: dict[str, list[Says]] = field(default_factory=dict)
    objections: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    def answer(self, request: Received) -> Says:
        self.received.append(request)
        method = request.path.removeprefix("/api/")
        if waiting := self.next.get(method) or self.next.get("*"):
            return waiting.pop(0)
        if request.path.startswith("/upload/v1/"):
            self.uploads[request.path.rpartition("/")[2]] = request.body
            return Says(200, b"OK - 1")
        if request.method != "POST" or not request.path.startswith("/api/"):
            return Says(404)
        return self._judge(method, request)

    def _judge(self, method: str, request: Received) -> Says:
        given = _arguments(request)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return refuses("invalid_auth")
        if found := objection(method, given):
            self.objections.append(f"{method}: {found}")
            return refuses("invalid_arguments", response_metadata={"messages": [f"[ERROR] {found}"]})
        scope = _SCOPE.get(method)
        if scope and scope not in self.scopes:
            return refuses("missing_scope", needed=scope, provided=",".join(sorted(self.scopes)))
        act: Callable[[dict[str, Any]], Says] = getattr(self, "_" + re.sub(r"\W", "_", method))
        return act(given)

    def _auth_test(self, given: dict[str, Any]) -> Says:
        return says_json({"ok": True, "team": "Example Shop", "user": "bitqueue", "bot_id": "B0000000001"})

    def _found(self, wanted: str, *, by_name: bool = False) -> str:
        """The id of a channel that can be used; raises what Slack says otherwise."""
        names = {f"#{channel['name']}": id for id, channel in self.channels.items()} if by_name else {}
        channel_id = names.get(wanted, wanted)
        if channel_id.startswith("D"):
            return channel_id
        channel = self.channels.get(channel_id)
        if channel is None:
            raise LookupError("channel_not_found")
        if channel["archived"]:
            raise LookupError("is_archived")
        return channel_id

    def _chat_postMessage(self, given: dict[str, Any]) -> Says:  # noqa: N802
        try:
            channel = self._found(given["channel"], by_name=True)
        except LookupError as error:
            return refuses(str(error))
        if not channel.startswith("D") and not self.channels[channel]["member"]:
            return refuses("not_in_channel")
        if not given.get("text") and not given.get("blocks"):
            return refuses("no_text")
        if given.get("thread_ts") and (channel, given["thread_ts"]) not in self.messages:
            return refuses("thread_not_found")
        if any("type" not in block for block in given.get("blocks", [])):
            return refuses("invalid_blocks")
        ts = f"17637156{len(self.messages):02}.000100"
        self.messages[channel, ts] = given
        return says_json({"ok": True, "channel": channel, "ts": ts, "message": {"text": given.get("text")}})

    def _conversations_history(self, given: dict[str, Any]) -> Says:
        return self._written(given, "")

    def _conversations_replies(self, given: dict[str, Any]) -> Says:
        return self._written(given, given["ts"])

    def _written(self, given: dict[str, Any], thread: str) -> Says:
        """The newest first, a page of at most `limit`, as the cursor says."""
        if given["channel"] not in self.channels and not given["channel"].startswith("D"):
            return refuses("channel_not_found")
        found = [
            _as_told(ts, message, with_metadata=bool(given.get("include_all_metadata")))
            for (channel, ts), message in sorted(self.messages.items(), reverse=True)
            if channel == given["channel"]
            and float(ts) > float(given.get("oldest", 0))
            and (message.get("thread_ts") or "") == thread
        ]
        start, most = int(given.get("cursor") or 0), int(given.get("limit", 100))
        more = {"next_cursor": str(start + most)} if len(found) > start + most else {}
        return says_json({"ok": True, "messages": found[start : start + most], "response_metadata": more})

    def _chat_update(self, given: dict[str, Any]) -> Says:
        place = given["channel"], given["ts"]
        if place not in self.messages:
            return refuses("message_not_found")
        self.messages[place] = given
        return says_json({"ok": True, "channel": place[0], "ts": place[1], "text": given.get("text")})

    def _reactions_add(self, given: dict[str, Any]) -> Says:
        place = given["channel"], given["timestamp"], given["name"]
        if place[:2] not in self.messages:
            return refuses("message_not_found")
        if given["name"] not in _EMOJI:
            return refuses("invalid_name")
        if place in self.reactions:
            return refuses("already_reacted")
        self.reactions.add(place)
        return says_json({"ok": True})

    def _users_lookupByEmail(self, given: dict[str, Any]) -> Says:  # noqa: N802
        user = self.people.get(given["email"])
        if user is None:
            return refuses("users_not_found")
        known = {"id": user, "name": "ada", "real_name": "Ada Example", "tz": "Europe/Berlin"}
        return says_json({"ok": True, "user": known})

    def _conversations_open(self, given: dict[str, Any]) -> Says:
        users = given.get("users", "").split(",")
        if not set(users) <= set(self.people.values()):
            return refuses("user_not_found")
        return says_json({"ok": True, "channel": {"id": "D0" + users[0][2:]}})

    def _conversations_join(self, given: dict[str, Any]) -> Says:
        try:
            channel = self._found(given["channel"])
        except LookupError as error:
            return refuses(str(error))
        self.channels[channel]["member"] = True
        return says_json({"ok": True, "channel": {"id": channel, "name": self.channels[channel]["name"]}})

    def _files_getUploadURLExternal(self, given: dict[str, Any]) -> Says:  # noqa: N802
        file_id = f"F{len(self.files):010}"
        self.files[file_id] = {"name": given["filename"], "length": int(given["length"])}
        url = f"https://files.slack.com/upload/v1/{file_id}"
        return says_json({"ok": True, "upload_url": url, "file_id": file_id})

    def _files_completeUploadExternal(self, given: dict[str, Any]) -> Says:  # noqa: N802
        [file] = json.loads(given["files"])
        body = self.uploads.get(file["id"])
        if body is None or len(body) != self.files[file["id"]]["length"]:
            return refuses("file_not_found")
        try:
            channel = self._found(given["channel_id"])
        except LookupError as error:
            return refuses(str(error))
        done = {
            "id": file["id"],
            "title": file["title"],
            "permalink": f"https://example.slack.com/{file['id']}",
        }
        self.files[file["id"]] |= {"channel": channel, "comment": given.get("initial_comment")}
        return says_json({"ok": True, "files": [done]})


def _as_told(ts: str, message: dict[str, Any], *, with_metadata: bool) -> dict[str, Any]:
    told = {"type": "message", "ts": ts, "text": message.get("text")}
    told |= {"thread_ts": message["thread_ts"]} if message.get("thread_ts") else {}
    return told | ({"metadata": message["metadata"]} if with_metadata and message.get("metadata") else {})


_SCOPE = {
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "reactions.add": "reactions:write",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
    "users.lookupByEmail": "users:read.email",
    "conversations.join": "channels:join",
    "conversations.open": "im:write",
}


def refuses(error: str, **more: Any) -> Says:
    """Slack says no with status 200."""
    return says_json({"ok": False, "error": error, **more})


def busy(after_s: int) -> Says:
    return says_json({"ok": False, "error": "ratelimited"}, 429, **{"Retry-After": str(after_s)})


def _arguments(request: Received) -> dict[str, Any]:
    if request.headers.get("content-type", "").startswith("application/json"):
        return json.loads(request.body or b"{}")
    return dict(parse_qsl(request.body.decode(), strict_parsing=bool(request.body)))


def sign(body: bytes, timestamp: int, secret: str = SIGNING_SECRET) -> dict[str, str]:
    """The headers of a call from Slack."""
    signed = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": str(timestamp), "x-slack-signature": f"v0={signed}"}


@contextmanager
def slack_web_server() -> Iterator[Workspace]:
    workspace = Workspace()
    with http_server(workspace.answer) as stand_in:
        workspace.url = stand_in.url
        yield workspace
