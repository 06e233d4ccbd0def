"""What Telegram tells a bot, as an event."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from app.clock import rfc3339
from app.sdk import values
from app.sdk.declare import Occurrence, Reply
from app.sdk.errors import RefusedError

# Telegram repeats what is not answered with 2xx.
NOT_FOR_THIS_RULE: Final = Reply("")

_NEW: Final = ("message", "channel_post")
_EDITED: Final = ("edited_message", "edited_channel_post")
_FILES: Final = ("document", "audio", "video", "voice", "animation", "video_note", "sticker")
_LAST_SECOND: Final = 10**11


def read_update(update: Any, *, edited: bool) -> Occurrence | None:
    """https://core.telegram.org/bots/api#update; None for what is no message of this kind."""
    if not isinstance(update, dict) or not isinstance(update.get("update_id"), int):
        raise RefusedError("this is not an update of telegram's", status=400)
    for kind in _NEW + (_EDITED if edited else ()):
        message = update.get(kind)
        if isinstance(message, dict):
            return Occurrence(str(update["update_id"]), _words(kind, message))
    return None


def _words(kind: str, message: Mapping[str, Any]) -> dict[str, Any]:
    chat, sender = _object(message.get("chat")), _object(message.get("from"))
    at = message.get("date")
    return {
        "text": values.text(message.get("text") or message.get("caption")),
        "kind": kind,
        "message_id": message.get("message_id"),
        "chat": {
            "id": chat.get("id"),
            "type": chat.get("type"),
            "title": chat.get("title") or _name(chat),
        },
        "from": {"id": sender.get("id"), "name": _name(sender), "username": sender.get("username")},
        "at": rfc3339(datetime.fromtimestamp(at, UTC))
        if isinstance(at, int) and 0 <= at < _LAST_SECOND
        else None,
        "file": _file(message),
    }


def _file(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """What Telegram keeps of a file; a photo comes in several sizes, the last is the largest."""
    photos = message.get("photo")
    if isinstance(photos, list) and photos:
        return _described("photo", _object(photos[-1]))
    return next(
        (_described(kind, message[kind]) for kind in _FILES if isinstance(message.get(kind), dict)), None
    )


def _described(kind: str, file: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "id": file.get("file_id"),
        "name": file.get("file_name"),
        "type": file.get("mime_type"),
        "bytes": file.get("file_size"),
    }


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(person: Mapping[str, Any]) -> str | None:
    parts = [person.get("first_name"), person.get("last_name")]
    return " ".join(part for part in parts if isinstance(part, str)) or None
