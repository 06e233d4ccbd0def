"""A mail as it came in: headers and texts decoded, its files stored by reference."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any, Final

from app.sdk.context import MAX_FILE_BYTES, Files

MAX_ATTACHMENTS: Final = 20
_MAX_TEXT_CHARS: Final = 200_000
_MAX_HEADER_CHARS: Final = 2_000
_MAX_ADDRESSES: Final = 100
_MAX_PARTS: Final = 500
# What says that two mails are one, whatever folder or UID it has.
_IDENTITY: Final = ("Message-ID", "Date", "From", "Subject")
_BREAKS: Final = frozenset({"br", "p", "div", "tr", "li", "h1", "h2", "h3", "h4", "blockquote"})
_UNSEEN: Final = frozenset({"style", "script", "head", "title"})


def identity(headers: bytes) -> str:
    """The same for every copy of a mail."""
    message = message_from_bytes(headers)
    said = "\n".join(str(message.get(name, "")).strip() for name in _IDENTITY)
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:32]


def read(raw: bytes, files: Files | None) -> dict[str, Any]:
    """What a rule gets to see of a mail. Without `files` its attachments are named and not stored.

    Nothing a stranger can write makes this fail: what cannot be read is told in `problem`.
    """
    try:
        message = message_from_bytes(raw)
        parts = list(_parts(message))
        problem = f"it has more than {_MAX_PARTS} parts" if len(parts) > _MAX_PARTS else ""
    except RecursionError:
        # Thousands of parts inside each other; its headers can still be read.
        message, parts, problem = (
            message_from_bytes(raw.partition(b"\r\n\r\n")[0]),
            [],
            "it is nested too deep",
        )
    parts = parts[:_MAX_PARTS]
    text, html = _texts(parts, "plain"), _texts(parts, "html")
    return {
        **_headers(message),
        "text": (text or plain_text(html))[:_MAX_TEXT_CHARS],
        "html": html[:_MAX_TEXT_CHARS],
        "attachments": _attachments(parts, files),
        "problem": problem,
    }


def plain_text(html: str) -> str:
    """The words of HTML, a line for each block."""
    reader = _Words()
    reader.feed(html[: 5 * _MAX_TEXT_CHARS])
    lines = (" ".join(line.split()) for line in "".join(reader.words).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._unseen += tag in _UNSEEN
        self.words.append("\n" if tag in _BREAKS else "")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in _UNSEEN and self._unseen > 0
        self.words.append("\n" if tag in _BREAKS else "")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.words.append(re.sub(r"\s+", " ", data))


def _headers(message: Message) -> dict[str, Any]:
    return {
        "message_id": _header(message, "Message-ID"),
        "subject": _header(message, "Subject"),
        "from": next(iter(_addresses(message, "From")), {"name": "", "address": ""}),
        "to": _addresses(message, "To"),
        "cc": _addresses(message, "Cc"),
        "reply_to": _addresses(message, "Reply-To"),
        "in_reply_to": _header(message, "In-Reply-To"),
        "references": _header(message, "References").split(),
        "sent_at": _sent_at(message),
        # RFC 3834: answering one of these begins a conversation of machines.
        "automatic": _header(message, "Auto-Submitted").lower() not in ("", "no"),
    }


def _header(message: Message, name: str) -> str:
    return _decoded(str(message.get(name, "")))


def _decoded(raw: str) -> str:
    """`=?utf-8?b?…?=` as text, on one line; as it stands where it cannot be decoded."""
    try:
        text = str(make_header(decode_header(raw)))
    # An unknown character set, bytes that are not of it, or base64 that is none.
    except (LookupError, ValueError, MessageError):
        text = raw
    return _sound(" ".join(text.split()))[:_MAX_HEADER_CHARS]


def _addresses(message: Message, name: str) -> list[dict[str, str]]:
    # Taken apart first: a comma inside an encoded name must not make two of one.
    pairs = getaddresses([str(value) for value in message.get_all(name, [])][:_MAX_ADDRESSES])
    return [{"name": _decoded(who), "address": _sound(where)} for who, where in pairs if where][
        :_MAX_ADDRESSES
    ]


def _sent_at(message: Message) -> str | None:
    try:
        sent = parsedate_to_datetime(str(message.get("Date", "")))
        return _utc(sent).isoformat().replace("+00:00", "Z")
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _parts(message: Message) -> Iterator[Message]:
    """The leaves in order; an attached mail is one."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        inner = part.get_payload() if part.get_content_maintype() == "multipart" else None
        if isinstance(inner, list):
            waiting.extend(each for each in reversed(inner) if isinstance(each, Message))
            continue
        yield part


def _is_text(part: Message, subtype: str) -> bool:
    return (
        part.get_content_type() == f"text/{subtype}"
        and part.get_content_disposition() != "attachment"
        and not part.get_filename()
    )


def _texts(parts: list[Message], subtype: str) -> str:
    found = (_text(part) for part in parts if _is_text(part, subtype))
    return "\n".join(text for text in found if text.strip())


def _text(part: Message) -> str:
    raw = _content(part)
    try:
        charset = part.get_content_charset() or "utf-8"
        return _sound(raw.decode(charset, "replace")).replace("\r\n", "\n")
    except (LookupError, ValueError):
        return _sound(raw.decode("utf-8", "replace")).replace("\r\n", "\n")


def _sound(text: str) -> str:
    """Without NUL and half characters, which not every database and service takes."""
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _content(part: Message) -> bytes:
    if part.get_content_type() == "message/rfc822":
        return _attached_mail(part)
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _attached_mail(part: Message) -> bytes:
    inner = part.get_payload()
    try:
        return b"".join(each.as_bytes() for each in inner if isinstance(each, Message))
    # What was parsed from broken bytes cannot always be written again.
    except (LookupError, ValueError, TypeError, AttributeError, MessageError, RecursionError):
        return b""


def _attachments(parts: list[Message], files: Files | None) -> list[dict[str, Any]]:
    found = [part for part in parts if not (_is_text(part, "plain") or _is_text(part, "html"))]
    return [_attachment(part, files, number) for number, part in enumerate(found, start=1)]


def _attachment(part: Message, files: Files | None, number: int) -> dict[str, Any]:
    content, media_type = _content(part), _sound(part.get_content_type())
    name = _decoded(part.get_filename() or "") or _name_of(part, number)
    left_out = _why_left_out(content, number)
    kept = None if left_out or files is None else files.save(name, media_type, [content]).model_dump()
    return {
        "name": name,
        "type": media_type,
        "bytes": len(content),
        "inline": part.get_content_disposition() == "inline" or bool(part.get("Content-ID")),
        "content_id": _header(part, "Content-ID").strip("<>"),
        "file": kept,
        "left_out": left_out,
    }


def _why_left_out(content: bytes, number: int) -> str:
    if number > MAX_ATTACHMENTS:
        return f"a mail has at most {MAX_ATTACHMENTS} files kept"
    return f"larger than {MAX_FILE_BYTES // 1024**2} MB" if len(content) > MAX_FILE_BYTES else ""


def _name_of(part: Message, number: int) -> str:
    known: Mapping[str, str] = {"message/rfc822": "mail-{}.eml", "text/calendar": "event-{}.ics"}
    return known.get(part.get_content_type(), "attachment-{}").format(number)
