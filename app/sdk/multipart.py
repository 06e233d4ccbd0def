"""A form with a file in it (RFC 7578), as services take uploads."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_NOT_IN_A_NAME: Final = {'"': "%22", "\r": "%0D", "\n": "%0A"}
_TYPE: Final = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form: the field it stands in, and what it is called."""

    field: str
    name: str
    media_type: str
    body: bytes


def multipart(fields: Mapping[str, str], upload: Upload) -> tuple[str, bytes]:
    """The content type and the body of the form."""
    boundary = secrets.token_hex(16)
    parts = [_part(boundary, f'name="{_quoted(name)}"', value.encode()) for name, value in fields.items()]
    known = upload.media_type if _TYPE.fullmatch(upload.media_type) else "application/octet-stream"
    shown = f'name="{_quoted(upload.field)}"; filename="{_quoted(upload.name)}"\r\nContent-Type: {known}'
    parts.append(_part(boundary, shown, upload.body))
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


def _part(boundary: str, disposition: str, body: bytes) -> bytes:
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + body + b"\r\n"


def _quoted(name: str) -> str:
    """https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data"""
    for char, written in _NOT_IN_A_NAME.items():
        name = name.replace(char, written)
    return name.encode(errors="replace").decode()
