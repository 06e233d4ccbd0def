"""Twilio: accounts, messages and lookups, judged by its specification, with the numbers that it documents for tests."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlencode

from app.sdk.declare import InboundRequest
from tests.providers import openapi
from tests.providers.http import Received, Says, StandIn, http_server, says_json

SPEC = "twilio/twilio_api_v2010.json"
ACCOUNT_SID = "AC" + "a1" * 16
SUSPENDED_SID = "AC" + "b2" * 16
AUTH_TOKEN = "twilio-auth-token-9f8e7d6c5b4a"
KEY_SID, KEY_SECRET = "SK" + "c3" * 16, "twilio-key-secret-1a2b3c"
SERVICE_SID = "MG" + "d4" * 16
TEMPLATE_SID = "HX" + "e5" * 16
# It may send nothing: no right to messages.
WEAK_KEY_SID = "SK" + "f6" * 16

NUMBER, SHOP = "+15005550006", "whatsapp:+14155238886"
# https://www.twilio.com/docs/iam/test-credentials#test-sms-messages
_TO = {
    "+15005550001": (21211, "Invalid 'To' Phone Number"),
    "+15005550002": (
        21612,
        "Message cannot be sent with the current combination of 'To' and 'From' parameters",
    ),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region"),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "'To' number is not a valid mobile number"),
}
_FROM = {
    "+15005550001": (21212, "Invalid From Number (caller ID)"),
    "+15005550007": (
        21606,
        "The 'From' phone number provided is not a valid message-capable Twilio phone number",
    ),
}
FULL_SENDER = "+15005550008"
_MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"
_SCHEMA = ("paths", "/2010-04-01/Accounts/{AccountSid}/Messages.json", "post", "requestBody", "content",
           "application/x-www-form-urlencoded", "schema")  # fmt: skip
_LOOKUP_FIELDS = {"line_type_intelligence", "caller_name", "validation"}


def fault(status: int, code: int, message: str, **headers: str) -> Says:
    body = {"code": code, "message": message, "more_info": f"https://www.twilio.com/docs/errors/{code}"}
    return says_json({**body, "status": status}, status, **headers)


def busy(after_s: int) -> Says:
    return fault(429, 20429, "Too Many Requests", **{"Retry-After": str(after_s)})


class Twilio:
    """`sent` remembers messages; `open_to` who wrote on WhatsApp within 24 hours."""

    server: StandIn

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.forms: list[dict[str, list[str]]] = []
        self.open_to: set[str] = set()
        self.pause_s = 0.0

    @property
    def url(self) -> str:
        return self.server.url

    def answer(self, request: Received) -> Says:
        time.sleep(self.pause_s)
        login = _login(request)
        known = {
            ACCOUNT_SID: AUTH_TOKEN,
            SUSPENDED_SID: AUTH_TOKEN,
            KEY_SID: KEY_SECRET,
            WEAK_KEY_SID: KEY_SECRET,
        }
        if known.get(login[0]) != login[1]:
            return fault(401, 20003, "Authenticate")
        if request.path.startswith("/v2/PhoneNumbers/"):
            return self._look_up(request)
        if (wrong := openapi.objection(SPEC, request)) is not None:
            return fault(400, 20001, wrong)
        if login[0] == WEAK_KEY_SID:
            return fault(403, 20403, "Forbidden")
        says = self._api(request, login[0])
        if (wrong := openapi.objection_to_answer(SPEC, request, says)) is not None and says.status < 300:
            raise AssertionError(wrong)
        return says

    def _api(self, request: Received, user: str) -> Says:
        if request.path == f"/2010-04-01/Accounts/{user}.json" and request.method == "GET":
            status = "suspended" if user == SUSPENDED_SID else "active"
            return says_json({"sid": user, "friendly_name": "Example Shop", "status": status, "type": "Full"})
        if request.path != _MESSAGES:
            return fault(404, 20404, f"The requested resource {request.path} was not found")
        if request.method == "GET":
            return says_json({"messages": self.sent, "page": 0, "page_size": 50, "uri": _MESSAGES})
        return self._send(openapi.form_of(request))

    def _send(self, form: dict[str, list[str]]) -> Says:
        if names := openapi.unknown_fields(form, SPEC, *_SCHEMA):
            return fault(400, 20001, f"unknown parameter {names[0]}")
        one = {name: values[0] for name, values in form.items()}
        if problem := _objection(one, self.open_to):
            return fault(400, *problem)
        if one.get("From") == FULL_SENDER:
            return fault(429, 21611, "This 'From' number has exceeded the maximum number of queued messages")
        self.forms.append(form)
        self.sent.append(_message(one, len(self.sent) + 1))
        return says_json(self.sent[-1], 201)

    def _look_up(self, request: Received) -> Says:
        asked = set(",".join(request.query.get("Fields", [])).split(",")) - {""}
        names = set(request.query) - {"Fields", "CountryCode"}
        if request.method != "GET" or names or not asked <= _LOOKUP_FIELDS:
            return fault(400, 60600, "Invalid parameter")
        number = unquote(request.path.rpartition("/")[2])
        if number == "+0":
            return fault(404, 20404, f"The requested resource /PhoneNumbers/{number} was not found")
        return says_json(_looked_up(number, asked, request.query.get("CountryCode", [""])[0]))


def _login(request: Received) -> tuple[str, str]:
    kind, _, encoded = request.headers.get("authorization", "").partition(" ")
    if kind != "Basic":
        return "", ""
    user, _, password = base64.b64decode(encoded).decode().partition(":")
    return user, password


def _objection(one: Mapping[str, str], open_to: set[str]) -> tuple[int, str] | None:
    to, sender = one["To"], one.get("From", "")
    if not sender and "MessagingServiceSid" not in one:
        return 21603, "A 'From' phone number is required"
    if not one.get("Body") and "MediaUrl" not in one and "ContentSid" not in one:
        return 21619, "A text message body or media urls must be specified."
    if sender and to.startswith("whatsapp:") != sender.startswith("whatsapp:"):
        return 21910, "Invalid From and To pair. From and To should be of the same channel"
    if sender.startswith("whatsapp:") and sender != SHOP:
        return 63007, "Twilio could not find a Channel with the specified From address"
    if one.get("ContentSid", TEMPLATE_SID) != TEMPLATE_SID:
        return 21655, "The ContentSid is Invalid"
    if "ContentVariables" in one and not _are_variables(one["ContentVariables"]):
        return 21656, "The ContentVariables Parameter is invalid"
    if to.startswith("whatsapp:") and "ContentSid" not in one and to not in open_to:
        return 63016, "Failed to send freeform message because you are outside the allowed window"
    return _TO.get(to) or _FROM.get(sender)


def _are_variables(text: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and all(
        isinstance(each, str) and "\n" not in each for each in found.values()
    )


def _message(one: Mapping[str, str], number: int) -> dict[str, Any]:
    sid = f"{'MM' if 'MediaUrl' in one else 'SM'}{number:032x}"
    return {
        "sid": sid,
        "account_sid": ACCOUNT_SID,
        "api_version": "2010-04-01",
        "body": one.get("Body", ""),
        "to": one["To"],
        "from": one.get("From"),
        "messaging_service_sid": one.get("MessagingServiceSid"),
        "status": "queued",
        "direction": "outbound-api",
        "num_segments": "1",
        "num_media": "0",
        "error_code": None,
        "error_message": None,
        "price": None,
        "price_unit": None,
        "date_created": "Sat, 21 Nov 2026 09:00:00 +0000",
        "date_updated": "Sat, 21 Nov 2026 09:00:00 +0000",
        "date_sent": None,
        "uri": f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}.json",
        "subresource_uris": {},
    }


def _looked_up(number: str, asked: set[str], country: str) -> dict[str, Any]:
    """https://www.twilio.com/docs/lookup/v2-api"""
    whole = number if number.startswith("+") else f"+49{number.removeprefix('0')}"
    is_valid = len(whole) > 8
    line = {"type": "mobile", "carrier_name": "Telekom", "error_code": None, "mobile_country_code": "262"}
    return {
        "calling_country_code": "49",
        "country_code": (country or "DE") if is_valid else None,
        "phone_number": whole,
        "national_format": "0151 12345678" if is_valid else None,
        "valid": is_valid,
        "validation_errors": [] if is_valid else ["TOO_SHORT"],
        "line_type_intelligence": line if "line_type_intelligence" in asked else None,
        "caller_name": {"caller_name": "ADA EXAMPLE", "caller_type": "CONSUMER"}
        if "caller_name" in asked
        else None,
        "url": f"https://lookups.twilio.com/v2/PhoneNumbers/{whole}",
    }


def signed_call(
    url: str, fields: Mapping[str, str], at: datetime, *, token: str = AUTH_TOKEN, **headers: str
) -> InboundRequest:
    """A form as Twilio sends and signs it: https://www.twilio.com/docs/usage/security#validating-requests"""
    text = url + "".join(name + fields[name] for name in sorted(fields))
    signature = base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()
    sent = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature, **headers}
    return InboundRequest("POST", sent, {}, urlencode(fields).encode(), at, url)


@contextmanager
def twilio_server() -> Iterator[Twilio]:
    twilio = Twilio()
    with http_server(twilio.answer) as server:
        twilio.server = server
        yield twilio
