"""Mail: addresses that are one address, headers that are one line, and the message itself."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator

from app.sdk.addresses import canonical_host
from app.sdk.errors import RejectedError
from app.sdk.fields import Text

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SPEC: Final = r"""[^\s<>@,;:"()\\\[\]]{1,64}@[^\s<>@,;:"()\\\[\]]{1,255}"""
_ADDRESS: Final = re.compile(
    rf"""(?P<bare>{_SPEC})|(?P<name>"[^"\\<>@]*"\s*|[^"\\<>@,;:()\[\]]*)<(?P<named>{_SPEC})>"""
)
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


def _whole(text: str) -> str:
    """JSON can carry half a character (`\\ud83d`), mail cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
