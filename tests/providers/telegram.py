"""Telegram's Bot API, judged by its own list of methods and fields."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from functools import cache
from typing import Any

from tests.providers.http import Received, Says, http_server, says_json
from tests.providers.specs import spec_path

TOKEN = "123456789:AAExampleExampleExampleExampleExampl"
GROUP, MOVED, BLOCKED = "-1001234567890", "-100", "666"

_TYPES = {"Integer": int, "String": str, "Boolean": bool, "Float": float}


@cache
def _specification() -> dict[str, Any]:
    return json.loads(spec_path("telegram/api.json").read_text())


def objection(method: str, given: dict[str, Any], *, form: bool = False) -> str | None:
    """What the specification has against a call; in a form everything is text, or JSON as text."""
    described = _specification()["methods"].get(method)
    if described is None:
        return f"unknown method {method}"
    return _objection_to_object(described.get("fields", []), given, form=form)


def _objection_to_object(
    fields: list[dict[str, Any]], given: dict[str, Any], *, form: bool = False
) -> str | None:
    known = {each["name"]: each for each in fields}
    if unknown := given.keys() - known.keys():
        return f"unknown field {min(unknown)}"
    for name, about in known.items():
        if name not in given and about["required"]:
            return f"missing field {name}"
        if name in given and not any(_fits(kind, given[name], form=form) for kind in about["types"]):
            return f"field {name} is none of {about['types']}"
    return None


def _fits(kind: str, value: Any, *, form: bool) -> bool:
    if kind == "InputFile":
        return isinstance(value, bytes)
    if form and isinstance(value, str) and kind != "String":
        try:
            value = json.loads(value)
        except ValueError:
            return False
    if kind.startswith("Array of "):
        inner = kind.removeprefix("Array of ")
        return isinstance(value, list) and all(_fits(inner, each, form=False) for each in value)
    if kind in _TYPES:
        return isinstance(value, _TYPES[kind]) and (kind == "Boolean" or not isinstance(value, bool))
    fields = _specification()["types"].get(kind, {}).get("fields")
    return isinstance(value, dict) and fields is not None and _objection_to_object(fields, value) is None


@dataclass
class BotServer:
    """Whatever is set here may be changed at any time."""

    url: str = ""
    posts: list[dict[str, Any]] = field(default_factory=list)
    files: list[tuple[str, str, bytes]] = field(default_factory=list)
    webhook: dict[str, Any] = field(default_factory=dict)
    # Answers to be given next, before anything else.
    next: list[Says] = field(default_factory=list)
    objections: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    def answer(self, request: Received) -> Says:
        self.received.append(request)
        if self.next:
            return self.next.pop(0)
        if not request.path.startswith("/bot"):
            return refuses(404, "Not Found")
        token, _, method = request.path.removeprefix("/bot").partition("/")
        if token != TOKEN:
            return refuses(401, "Unauthorized")
        given, form = self._arguments(request)
        if found := objection(method, given, form=form):
            self.objections.append(f"{method}: {found}")
            return refuses(400, f"Bad Request: {found}")
        if method == "getMe":
            return says({"id": 123456789, "is_bot": True, "first_name": "Orders", "username": "orders_bot"})
        if method == "setWebhook":
            self.webhook = given
            return says(True)
        return self._post(given)

    def _post(self, given: dict[str, Any]) -> Says:
        chat = str(given["chat_id"])
        if chat == BLOCKED:
            return refuses(403, "Forbidden: bot was blocked by the user")
        if chat == MOVED:
            moved = {"migrate_to_chat_id": int(GROUP)}
            return refuses(400, "Bad Request: group chat was upgraded to a supergroup chat", parameters=moved)
        if chat not in {GROUP, "@orders"}:
            return refuses(400, "Bad Request: chat not found")
        text = given.get("text") or given.get("caption") or ""
        if given.get("parse_mode") == "HTML" and text.count("<") != text.count(">"):
            return refuses(400, "Bad Request: can't parse entities: Unclosed start tag at byte offset 0")
        self.posts.append(given)
        posted = {"message_id": len(self.posts), "date": 1, "chat": {"id": int(GROUP), "title": "Orders"}}
        return says(posted)

    def _arguments(self, request: Received) -> tuple[dict[str, Any], bool]:
        kind = request.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            return json.loads(request.body), False
        message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + request.body)
        given: dict[str, Any] = {}
        for part in message.iter_parts():
            name, body = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
            if part.get_filename() is not None:
                self.files.append((part.get_filename(), part.get_content_type(), body))
            given[name] = body if part.get_filename() is not None else body.decode()
        return given, True


def says(result: Any) -> Says:
    return says_json({"ok": True, "result": result})


def refuses(code: int, description: str, **more: Any) -> Says:
    return says_json({"ok": False, "error_code": code, "description": description, **more}, code)


def busy(after_s: int) -> Says:
    words = f"Too Many Requests: retry after {after_s}"
    body = {"ok": False, "error_code": 429, "description": words, "parameters": {"retry_after": after_s}}
    return says_json(body, 429, **{"Retry-After": str(after_s)})


@contextmanager
def telegram_server() -> Iterator[BotServer]:
    bot = BotServer()
    with http_server(bot.answer) as stand_in:
        bot.url = stand_in.url
        yield bot
