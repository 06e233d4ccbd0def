"""Mail: addresses that are one address, headers that are one line, and the message with its files."""

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator

from app.sdk.addresses import canonical_host
from app.sdk.context import MAX_FILE_BYTES, FileRef, Files
from app.sdk.errors import RejectedError
from app.sdk.fields import Text

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SPEC: Final = r"""[^\s<>@,;:"()\\\[\]]{1,64}@[^\s<>@,;:"()\\\[\]]{1,255}"""
_ADDRESS: Final = re.compile(
    rf"""(?P<bare>{_SPEC})|(?P<name>"[^"\\<>@]*"\s*|[^"\\<>@,;:()\[\]]*)<(?P<named>{_SPEC})>"""
)
_MEDIA_TYPE: Final = re.compile(
    r"(?!message/|multipart/)[a-z]{2,20}/[a-z0-9][a-z0-9.+_-]{0,99}", re.IGNORECASE
)
_ANY_TYPE: Final = "application/octet-stream"
# RFC 5321 §4.5.2: a line that begins with a dot gets another.
_LINE_DOT: Final = re.compile(rb"^\.", re.MULTILINE)
# 7bit: no server has to know 8BITMIME.
_POLICY: Final = SMTP.clone(cte_type="7bit")


def parse_address(text: str) -> Address:
    """Exactly one address, `ada@example.com` or `Ada Example <ada@example.com>`; raises ValueError.

    Stricter than RFC 5322: what a mail program could read as a second address is refused, in the name too.
    """
    if _CONTROL.search(text):
        raise ValueError("contains a line break or control character; remove it")
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        raise ValueError("must be one address, such as ada@example.com; give several as a list")
    user, _, domain = (found["bare"] or found["named"]).rpartition("@")
    return Address((found["name"] or "").strip(' "'), user, _domain(domain))


def _domain(typed: str) -> str:
    try:
        return canonical_host(typed)
    except RejectedError:
        raise ValueError("has no valid domain after the @") from None


def _one_address(text: str) -> str:
    parse_address(text)
    return text.strip()


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("contains a line break or control character; remove it")
    return text


MailAddress: TypeAlias = Annotated[Text, AfterValidator(_one_address)]
HeaderText: TypeAlias = Annotated[Text, AfterValidator(_one_line)]


def message_id(key: str, sender: Address) -> str:
    """The same for every attempt of a task, so that receivers can drop a repeat; a new one without a key."""
    if not key:
        return make_msgid(domain=sender.domain)
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{sender.domain}>"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A stored file that goes along; with a content id, HTML shows it as `<img src="cid:logo">`."""

    file: FileRef
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message as bytes in pieces: its files are read while they are sent."""

    pieces: Sequence[bytes | Attachment]
    files: Files

    def __len__(self) -> int:
        return sum(len(piece) if isinstance(piece, bytes) else _encoded(piece) for piece in self.pieces)

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from _base64(self.files.open(piece.file))


def attached(
    files: Files, plain: Sequence[FileRef], inline: Mapping[str, FileRef] = MappingProxyType({})
) -> list[Attachment]:
    """Files as they are stored; raises RejectedError for what is gone, and for more than 25 MB together."""
    found = [Attachment(files.find(file)) for file in plain]
    found += [Attachment(files.find(file), name) for name, file in inline.items()]
    total = sum(each.file.bytes for each in found)
    if total > MAX_FILE_BYTES:
        raise RejectedError(
            f"the files have {total / 1024**2:.1f} MB together, and a mail takes {MAX_FILE_BYTES // 1024**2}; "
            "send fewer, or a link to them"
        )
    return found


def compose(
    headers: Mapping[str, str | Address | Sequence[Address]], text: str, html: str, *, at: datetime
) -> EmailMessage:
    """A message of text, of HTML, or of both as alternatives; empty headers are left out."""
    message = EmailMessage(policy=_POLICY)
    for name, value in headers.items():
        if value:
            message[name] = value
    message["Date"] = format_datetime(at)
    # RFC 3834: out-of-office programs shall not answer.
    message["Auto-Submitted"] = "auto-generated"
    if text or not html:
        message.set_content(_whole(text))
    if html and text:
        message.add_alternative(_whole(html), subtype="html")
    elif html:
        message.set_content(_whole(html), subtype="html")
    return message


def outgoing(
    message: EmailMessage, attachments: Sequence[Attachment], files: Files, *, smtp: bool = True
) -> Outgoing:
    """The message with a mark in place of each file, cut at the marks; dots doubled for SMTP."""
    # A line of base64 that nobody can have guessed and written into the text.
    marks = {secrets.token_bytes(54): each for each in attachments}
    for mark, attachment in marks.items():
        _attach(message, attachment, mark)
    left = message.as_bytes(policy=_POLICY)
    left = left if left.endswith(b"\r\n") else left + b"\r\n"
    left = _LINE_DOT.sub(b"..", left) if smtp else left
    pieces: list[bytes | Attachment] = []
    by_line = {base64.b64encode(mark) + b"\r\n": attachment for mark, attachment in marks.items()}
    # Inline files come first in the message, in whatever order they were given.
    for line in sorted(by_line, key=left.index):
        before, _, left = left.partition(line)
        pieces += [before, by_line[line]]
    return Outgoing([*pieces, left], files)


def _attach(message: EmailMessage, attachment: Attachment, content: bytes) -> None:
    file = attachment.file
    kind, name = file.type.partition(";")[0].strip(), _CONTROL.sub("", file.name)
    main, _, sub = (kind if _MEDIA_TYPE.fullmatch(kind) else _ANY_TYPE).partition("/")
    html = message.get_body(("html",)) if attachment.content_id else None
    if html is None:
        message.add_attachment(content, main, sub, filename=name)
        return
    shown: dict[str, Any] = {"disposition": "inline", "cid": f"<{attachment.content_id}>"}
    html.add_related(content, main, sub, filename=name, **shown)


def _base64(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of 76 characters, of 57 bytes each."""
    held = b""
    for chunk in chunks:
        held += chunk
        whole = len(held) - len(held) % 57
        if whole:
            yield _lines(held[:whole])
        held = held[whole:]
    if held:
        yield _lines(held)


def _lines(data: bytes) -> bytes:
    return b"".join(binascii.b2a_base64(data[at : at + 57])[:-1] + b"\r\n" for at in range(0, len(data), 57))


def _encoded(attachment: Attachment) -> int:
    full, rest = divmod(attachment.file.bytes, 57)
    return full * 78 + (4 * -(-rest // 3) + 2 if rest else 0)


def _whole(text: str) -> str:
    """JSON can carry half a character (`\\ud83d`), mail cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
