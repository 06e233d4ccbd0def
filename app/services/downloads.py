"""How a stored file is sent to a browser or a program: as a download, and as nothing that runs."""

import re
from collections.abc import Mapping
from urllib.parse import quote

from app.engine.files import plain_type
from app.sdk.context import FileRef


def headers(file: FileRef) -> Mapping[str, str]:
    """For content that a stranger may have sent: never shown as a page of ours, whatever it claims to be."""
    return {
        "Content-Type": plain_type(file.type),
        "Content-Length": str(file.bytes),
        "Content-Disposition": _disposition(file.name),
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-store",
    }


def _disposition(name: str) -> str:
    """RFC 6266: an ASCII name for old programs, and the whole one."""
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", name)
    whole = quote(name.encode("utf-8", "replace"), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"
