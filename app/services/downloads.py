"""How a stored file is sent to a browser or a program: as a download, and as nothing that runs."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from app.sdk.context import FileRef

_MEDIA_TYPE: Final = re.compile(r"[a-z]{2,20}/[a-z0-9][a-z0-9.+_-]{0,99}", re.IGNORECASE)


def headers(file: FileRef) -> Mapping[str, str]:
    """For content that a stranger may have sent: never shown as a page of ours, whatever it claims to be."""
    kind = file.type.partition(";")[0].strip()
    return {
        "Content-Type": kind if _MEDIA_TYPE.fullmatch(kind) else "application/octet-stream",
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
