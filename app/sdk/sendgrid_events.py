"""Calls from SendGrid: who signed them, and what became of which mail (event webhook)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm

from app.sdk import inbound
from app.sdk.declare import InboundRequest, Occurrence, Reply
from app.sdk.errors import RefusedError
from app.sdk.lazily import lazily

_library: Any = lazily("sendgrid")

_CURVE: Final = "secp256r1"
# SendGrid tries for 24 hours; a repeat is recognised by the event's own id.
_OLDEST: Final = timedelta(hours=25)
_MOST_AHEAD: Final = timedelta(minutes=5)
_LAST_SECOND: Final = 10**11


def told(request: InboundRequest, key: str, wanted: Sequence[str]) -> list[Occurrence] | Reply:
    """The events of a signed call, those of the `wanted` kinds or all."""
    if not key:
        raise RefusedError("the connection has no verification key, which proves that sendgrid calls; add it")
    verify(request, key)
    events = inbound.read_json(request)
    if not isinstance(events, list) or not all(isinstance(each, dict) for each in events):
        raise RefusedError("the body is no list of events", status=400)
    found = [_occurrence(each) for each in events if not wanted or each.get("event") in wanted]
    # A batch may hold nothing for this rule; refused, it would come again for a day.
    return found or Reply("")


def _occurrence(event: Mapping[str, Any]) -> Occurrence:
    at, key = event.get("timestamp"), event.get("sg_event_id")
    more: dict[str, Any] = {"message_id": str(event.get("sg_message_id", "")).partition(".filter")[0]}
    if isinstance(at, int) and 0 <= at < _LAST_SECOND:
        more["at"] = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
    return Occurrence(key if isinstance(key, str) and key else None, {**event, **more})


def verifier(key: str) -> Any:
    """SendGrid's own verifier, for the key as it shows it: base64 of a P-256 key. Raises ValueError."""
    try:
        made = _library.EventWebhook(key.strip())
    except (ValueError, UnsupportedAlgorithm):
        made = None
    if made is None or getattr(getattr(made.public_key, "curve", None), "name", "") != _CURVE:
        raise ValueError(
            "is not a verification key; copy it whole from the event webhook's security features"
        )
    return made


def verify(request: InboundRequest, key: str) -> None:
    """Raises RefusedError unless SendGrid signed time and body with the key that belongs to `key`.

    https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    """
    sent_at = request.headers.get("x-twilio-email-event-webhook-timestamp", "")
    signature = request.headers.get("x-twilio-email-event-webhook-signature", "")
    try:
        is_right = verifier(key).verify_signature(request.body.decode(), signature, sent_at)
    except ValueError:
        # Not base64, or not text.
        is_right = False
    if not is_right:
        raise RefusedError("this call could not be verified; compare the verification key")
    if not _is_recent(sent_at, request.received_at):
        raise RefusedError("this call was signed too long ago; compare the clock of this server")


def _is_recent(sent_at: str, received_at: datetime) -> bool:
    if not (sent_at.isascii() and sent_at.isdecimal() and len(sent_at) < 12):
        return False
    age = received_at - datetime.fromtimestamp(int(sent_at), UTC)
    return -_MOST_AHEAD <= age <= _OLDEST
