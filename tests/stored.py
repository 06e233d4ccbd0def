"""Files in memory, for tests of integrations where the database does not matter; see app.sdk.context.Files."""

import hashlib
from collections.abc import Iterable, Iterator

from app import ids
from app.sdk.context import MAX_FILE_BYTES, FileRef
from app.sdk.errors import RejectedError


class StoredFiles:
    def __init__(self) -> None:
        self.kept: dict[str, tuple[FileRef, bytes]] = {}

    def save(self, name: str, media_type: str, chunks: Iterable[bytes]) -> FileRef:
        body = b"".join(chunks)
        if len(body) > MAX_FILE_BYTES:
            raise RejectedError(f"{name} is larger than 25 MB, the most a file may have")
        digest = hashlib.sha256(body).hexdigest()
        ref = FileRef(id=ids.new("fil"), name=name, type=media_type, bytes=len(body), sha256=digest)
        self.kept[ref.id] = (ref, body)
        return ref

    def find(self, file: FileRef) -> FileRef:
        if file.id not in self.kept:
            raise RejectedError(f"the file {file.name or file.id} is not kept any more")
        return self.kept[file.id][0]

    def open(self, file: FileRef) -> Iterator[bytes]:
        self.find(file)
        body = self.kept[file.id][1]
        return (body[at : at + 1000] for at in range(0, len(body), 1000))

    def content(self, file: FileRef | dict) -> bytes:
        """What was stored, by a reference as it stands in an output."""
        return self.kept[FileRef.model_validate(file).id][1]
