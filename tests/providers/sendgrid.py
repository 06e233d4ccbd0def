"""SendGrid: mail, scopes and contacts, judged by its specification, and events as it signs them."""

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.sdk.declare import InboundRequest
from tests.providers import openapi
from tests.providers.http import Received, Says, StandIn, http_server, says_json

MAIL, SCOPES = "sendgrid/tsg_mail_v3.json", "sendgrid/tsg_scopes_v3.json"
KEY, NO_MAIL_KEY, NO_CONTACTS_KEY = "SG.full-key-0001", "SG.no-mail-0002", "SG.no-contacts-0003"
SENDER = "orders@example.com"
TEMPLATE_ID = "d-" + "a1" * 16
LIST_ID = "49eeb4d9-0065-4f6a-a7d8-dfd039b77e0f"

_SCOPES_OF = {
    KEY: ["mail.send", "marketing.read", "user.scopes.read"],
    NO_MAIL_KEY: ["alerts.read", "marketing.read"],
    NO_CONTACTS_KEY: ["mail.send"],
}
_SCHEMA = ("components", "requestBodies", "PostMailSend", "content", "application/json", "schema")
# https://www.twilio.com/docs/sendgrid/api-reference/contacts/add-or-update-a-contact
_CONTACT_FIELDS = {
    "email", "phone_number_id", "external_id", "anonymous_id", "first_name", "last_name", "alternate_emails",
    "address_line_1", "address_line_2", "city", "state_province_region", "postal_code", "country",
    "phone_number", "whatsapp", "line", "facebook", "unique_name", "custom_fields",
}  # fmt: skip
_MAX_BYTES = 30 * 1024 * 1024
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def fault(status: int, message: str, field: str | None = None, **headers: str) -> Says:
    return says_json({"errors": [{"message": message, "field": field, "help": None}]}, status, **headers)


def busy(after_s: int) -> Says:
    return fault(429, "too many requests", **{"Retry-After": str(after_s)})


class SendGrid:
    """`mails` remembers what was sent, `contacts` by address."""

    server: StandIn

    def __init__(self) -> None:
        self.mails: list[dict[str, Any]] = []
        self.contacts: dict[str, dict[str, Any]] = {}
        self.pause_s = 0.0

    @property
    def url(self) -> str:
        return self.server.url

    def answer(self, request: Received) -> Says:
        time.sleep(self.pause_s)
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or key not in _SCOPES_OF:
            return fault(401, "The provided authorization grant is invalid, expired, or revoked")
        match request.method, request.path:
            case "GET", "/v3/scopes":
                wrong = openapi.objection(SCOPES, request)
                return fault(400, wrong) if wrong else says_json({"scopes": _SCOPES_OF[key]})
            case "POST", "/v3/mail/send":
                return (
                    self._send(request) if "mail.send" in _SCOPES_OF[key] else fault(403, "access forbidden")
                )
            case "PUT", "/v3/marketing/contacts":
                allowed = "marketing.read" in _SCOPES_OF[key]
                return self._upsert(request) if allowed else fault(403, "access forbidden")
        return fault(404, "not found")

    def _send(self, request: Received) -> Says:
        if len(request.body) > _MAX_BYTES:
            return fault(413, "content too large")
        if (wrong := openapi.objection(MAIL, request)) is not None:
            return fault(400, wrong[:500])
        body = request.json()
        if names := openapi.unknown_fields(body, MAIL, *_SCHEMA):
            return fault(400, "Additional property is not allowed", names[0])
        if body["from"]["email"] != SENDER:
            message = "The from address does not match a verified Sender Identity. Mail cannot be sent until"
            return fault(403, f"{message} this error is resolved.", "from")
        if problem := _objection(body):
            return fault(400, *problem)
        self.mails.append(body)
        return Says(202, b"", {"X-Message-Id": f"14c5d75ce93.dfd.{len(self.mails):06d}"})

    def _upsert(self, request: Received) -> Says:
        body = request.json()
        contacts = body.get("contacts")
        if not isinstance(contacts, list) or not contacts or body.keys() - {"contacts", "list_ids"}:
            return fault(400, "contacts is required", "contacts")
        for contact in contacts:
            if contact.keys() - _CONTACT_FIELDS or not _MAIL.fullmatch(contact.get("email", "")):
                return fault(400, "email is invalid", "contacts[0].email")
        if set(body.get("list_ids", [])) - {LIST_ID}:
            return fault(404, "list id does not exist", "list_ids")
        for contact in contacts:
            self.contacts.setdefault(contact["email"], {}).update(contact, list_ids=body.get("list_ids", []))
        return says_json({"job_id": "8ad1d3b4-0001"}, 202)


def _objection(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """What the specification cannot say: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors"""
    for number, one in enumerate(body["personalizations"]):
        people = [each["email"].lower() for name in ("to", "cc", "bcc") for each in one.get(name, [])]
        if len(set(people)) < len(people):
            message = (
                "Each email address in the personalization block should be unique between to, cc, and bcc."
            )
            return message, f"personalizations.{number}"
        if wrong := [each for each in people if not _MAIL.fullmatch(each) or each.endswith(".invalid")]:
            return f"Does not contain a valid address: {wrong[0]}", f"personalizations.{number}.to.0.email"
    if "template_id" in body:
        return None if body["template_id"] == TEMPLATE_ID else ("The template_id is not known", "template_id")
    if not body.get("subject"):
        return "The subject is required.", "subject"
    kinds = [each["type"] for each in body.get("content", [])]
    if not kinds or kinds != sorted(kinds, key=["text/plain", "text/html"].index):
        return "If present, text/plain must be the first content.", "content"
    for attachment in body.get("attachments", []):
        try:
            base64.b64decode(attachment["content"], validate=True)
        except ValueError:
            return "The attachment content must be base64 encoded.", "attachments.0.content"
        if ";" in attachment.get("type", ""):
            return "The attachment type may not contain ;", "attachments.0.type"
    return None


class Signer:
    """A verification key, and the private one that belongs to it."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())

    @property
    def verification_key(self) -> str:
        der, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return base64.b64encode(self._private.public_key().public_bytes(der, form)).decode()

    def call(self, events: Any, at: datetime, *, sent_at: datetime | None = None) -> InboundRequest:
        """As SendGrid posts it: compact JSON, and a line end."""
        body = json.dumps(events, separators=(",", ":")).encode() + b"\r\n"
        stamp = str(int((sent_at or at).timestamp()))
        signature = self._private.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            "content-type": "application/json",
            "x-twilio-email-event-webhook-timestamp": stamp,
            "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
        }
        return InboundRequest("POST", headers, {}, body, at, "https://bq.example/api/v1/hooks/abc")


@contextmanager
def sendgrid_server() -> Iterator[SendGrid]:
    sendgrid = SendGrid()
    with http_server(sendgrid.answer) as server:
        sendgrid.server = server
        yield sendgrid
