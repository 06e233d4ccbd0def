"""Calls from Slack: who signed them, and what they tell (Events API and slash commands)."""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from app.clock import rfc3339
from app.sdk import inbound, values
from app.sdk.declare import InboundRequest, Occurrence, Reply
from app.sdk.errors import RefusedError
from app.sdk.fields import Settings
from app.sdk.slack import plain
from app.sdk.slack_params import Command, Heard, Mentioned, Reacted

Told: TypeAlias = list[Occurrence] | Reply

# Slack repeats, and in the end stops, what is not answered with 2xx: what a rule does not wait for is taken, too.
NOT_FOR_THIS_RULE: Final = Reply("")

_UNVERIFIED: Final = "this call could not be verified; compare the signing secret with api.slack.com/apps"
_LONGEST_CHALLENGE: Final = 500
_MAX_FILES: Final = 20
_LAST_SECOND: Final = 10**11
# Joins, changes, deletions and topics are messages to Slack, too.
_NEW: Final = frozenset({None, "file_share", "thread_broadcast", "me_message", "bot_message"})


def verify(request: InboundRequest, secret: str) -> None:
    """Raises RefusedError unless Slack signed time and body within five minutes.

    https://docs.slack.dev/authentication/verifying-requests-from-slack
    """
    sent = request.headers.get("x-slack-request-timestamp", "")
    given = request.headers.get("x-slack-signature", "")
    signed = hmac.new(secret.encode(), b"v0:" + sent.encode() + b":" + request.body, hashlib.sha256)
    right = hmac.compare_digest(given.encode(), f"v0={signed.hexdigest()}".encode())
    if not (secret and right and _is_recent(sent, request.received_at)):
        raise RefusedError(_UNVERIFIED)


def _is_recent(sent: str, received_at: datetime) -> bool:
    if not (sent.isascii() and sent.isdigit() and len(sent) <= 11):
        return False
    return abs(received_at - datetime.fromtimestamp(int(sent), UTC)) <= inbound.TOLERANCE


def told(
    request: InboundRequest, secret: str, read: Callable[[Mapping[str, Any], Any], Any], params: Settings
) -> Told:
    """What `read` makes of the event for a rule with these params; None is not for it.

    Slack's question whether the address is ours is answered, once it is signed.
    """
    verify(request, secret)
    body = inbound.read_json(request)
    if not isinstance(body, dict):
        raise RefusedError("this is not an event of slack's", status=400)
    if body.get("type") == "url_verification":
        return Reply(values.text(body.get("challenge"))[:_LONGEST_CHALLENGE])
    event = body.get("event")
    if body.get("type") != "event_callback" or not isinstance(event, dict):
        return NOT_FOR_THIS_RULE
    data = read(event, params)
    return NOT_FOR_THIS_RULE if data is None else [_occurrence(body, data)]


def _occurrence(envelope: Mapping[str, Any], data: Mapping[str, Any]) -> Occurrence:
    """Slack delivers it again under the same id."""
    event_id, at = envelope.get("event_id"), envelope.get("event_time")
    known = isinstance(at, int) and 0 <= at < _LAST_SECOND
    about = {
        "team": envelope.get("team_id"),
        "event_id": event_id,
        "at": rfc3339(datetime.fromtimestamp(at, UTC)) if known and at is not None else None,
    }
    return Occurrence(str(event_id) if event_id else None, {**data, **about})


def message(event: Mapping[str, Any], params: Heard) -> dict[str, Any] | None:
    """A new message of somebody's."""
    by_app = bool(event.get("bot_id")) or event.get("subtype") == "bot_message"
    if event.get("type") != "message" or event.get("subtype") not in _NEW or (by_app and not params.bots):
        return None
    return _words(event) if _is_here(event.get("channel"), params.channel) else None


def mention(event: Mapping[str, Any], params: Mentioned) -> dict[str, Any] | None:
    """A message that calls the app."""
    if event.get("type") != "app_mention" or event.get("bot_id"):
        return None
    return _words(event) if _is_here(event.get("channel"), params.channel) else None


def reaction(event: Mapping[str, Any], params: Reacted) -> dict[str, Any] | None:
    """Who put which emoji under what."""
    item = event.get("item")
    if event.get("type") != "reaction_added" or not isinstance(item, dict) or item.get("type") != "message":
        return None
    wanted = params.emoji.strip().strip(":")
    if (wanted and event.get("reaction") != wanted) or not _is_here(item.get("channel"), params.channel):
        return None
    return {
        "emoji": event.get("reaction"),
        "user": event.get("user"),
        "author": event.get("item_user"),
        "channel": item.get("channel"),
        "ts": item.get("ts"),
    }


def command(request: InboundRequest, secret: str, params: Command) -> Told:
    """What was typed behind a slash command; its trigger id is its own."""
    verify(request, secret)
    form = {name: values.text(value) for name, value in inbound.read_form(request).items()}
    if form.get("ssl_check"):
        return NOT_FOR_THIS_RULE
    if not form.get("command"):
        raise RefusedError("this is not a slash command", status=400)
    if params.command.strip() not in {"", form["command"]}:
        return NOT_FOR_THIS_RULE
    data = {
        "command": form["command"],
        "text": plain(form.get("text", "")),
        "user": form.get("user_id"),
        "user_name": form.get("user_name"),
        "channel": form.get("channel_id"),
        "channel_name": form.get("channel_name"),
        "team": form.get("team_id"),
    }
    return [Occurrence(form.get("trigger_id"), data)]


def _is_here(channel: object, wanted: str) -> bool:
    return not wanted.strip() or channel == wanted.strip()


def _words(event: Mapping[str, Any]) -> dict[str, Any]:
    files = event.get("files")
    thread, ts = event.get("thread_ts"), event.get("ts")
    return {
        "text": plain(values.text(event.get("text"))),
        "user": event.get("user") or event.get("bot_id"),
        "channel": event.get("channel"),
        "channel_type": event.get("channel_type"),
        "ts": ts,
        # Where an answer belongs: the thread it stands in, or the one that it may begin.
        "thread": thread or ts,
        "in_thread": bool(thread) and thread != ts,
        "files": _files(files) if isinstance(files, list) else [],
    }


def _files(files: Sequence[Any]) -> list[dict[str, Any]]:
    names = {"id": "id", "name": "name", "type": "mimetype", "bytes": "size"}
    known = [file for file in files[:_MAX_FILES] if isinstance(file, dict)]
    return [{ours: file.get(theirs) for ours, theirs in names.items()} for file in known]
