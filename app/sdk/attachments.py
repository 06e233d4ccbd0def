"""Fields that take files: a file alone, a list of them, or the attachments of a mail as they came."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator

from app.sdk.context import FileRef


def _flat(given: Any) -> Any:
    """`["{{ steps.a.file }}", "{{ event.attachments }}"]` renders to an object and a list of more."""
    return list(_each(given)) if isinstance(given, list | tuple | Mapping | str | FileRef) else given


def _each(given: Any) -> Iterator[Any]:
    if isinstance(given, list | tuple):
        for item in given:
            yield from _each(item)
    elif isinstance(given, Mapping) and "file" in given:
        # An attachment of a mail; without a file it was too large to be kept.
        yield from _each(given["file"])
    elif given not in (None, ""):
        yield given


FileList: TypeAlias = Annotated[list[FileRef], BeforeValidator(_flat)]
