"""A Teams workflow that posts a card, judged by the schema of adaptive cards."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jsonschema

from tests.providers.http import Received, Says, http_server, says_json
from tests.providers.specs import spec_path

PATH = "/workflows/0a1b2c3d/triggers/manual/paths/invoke"
SIGNATURE = "AbCd-EfGhIjKl_MnOpQrSt"
ORIGIN = "https://prod-00.westeurope.logic.azure.com:443"
URL = f"{ORIGIN}{PATH}?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig={SIGNATURE}"
_CARD = "application/vnd.microsoft.card.adaptive"


@cache
def _schema() -> jsonschema.Draft6Validator:
    return jsonschema.Draft6Validator(json.loads(spec_path("msteams/adaptive-card-1.5.0.json").read_text()))


def objection(body: Any) -> str | None:
    """What the schema, and the envelope that Teams wants around a card, have against a body."""
    if not isinstance(body, dict) or body.get("type") != "message" or not body.get("attachments"):
        return "no message with attachments"
    for attachment in body["attachments"]:
        if attachment.get("contentType") != _CARD:
            return "no adaptive card"
        error = next(_schema().iter_errors(attachment.get("content")), None)
        if error is not None:
            return error.message
    return None


@dataclass
class WorkflowServer:
    """Whatever is set here may be changed at any time."""

    url: str = ""
    on: bool = True
    cards: list[dict[str, Any]] = field(default_factory=list)
    # Answers to be given next, before anything else.
    next: list[Says] = field(default_factory=list)
    objections: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    def answer(self, request: Received) -> Says:
        self.received.append(request)
        if self.next:
            return self.next.pop(0)
        if request.path != PATH:
            return refuses(404, "WorkflowNotFound")
        if request.query.get("sig") != [SIGNATURE] or request.query.get("sp") != ["/triggers/manual/run"]:
            return refuses(401, "DirectApiAuthorizationRequired")
        if not self.on:
            return refuses(400, "WorkflowTriggerIsNotEnabled")
        if request.method != "POST" or request.headers.get("content-type") != "application/json":
            return refuses(400, "InvalidRequestContent")
        if found := objection(request.json()):
            self.objections.append(found)
            return refuses(400, "TriggerInputSchemaMismatch")
        self.cards += [attachment["content"] for attachment in request.json()["attachments"]]
        return Says(202)


def refuses(status: int, code: str, **headers: str) -> Says:
    error = {"code": code, "message": f"The workflow says no: {code}."}
    return says_json({"error": error}, status, **headers)


def busy(after_s: int) -> Says:
    return refuses(429, "TooManyRequests", **{"Retry-After": str(after_s)})


@contextmanager
def msteams_server() -> Iterator[WorkflowServer]:
    workflow = WorkflowServer()
    with http_server(workflow.answer) as stand_in:
        workflow.url = stand_in.url
        yield workflow
