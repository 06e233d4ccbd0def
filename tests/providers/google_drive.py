"""Google Drive: files, folders, versions and permissions in memory, as far as the Drive API lets them be used.

A search that Google would not understand is refused, and only the fields that were asked for are answered.
"""

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from tests.providers.discovery import Call
from tests.providers.google import PERSON, Api, says_error
from tests.providers.http import Says

SCOPE = "https://www.googleapis.com/auth/drive"
FOLDER = "application/vnd.google-apps.folder"
ROOT = "0ARootRootRootUk9PVA"
_NATIVE = "application/vnd.google-apps."
_EXPORTS = {
    "application/vnd.google-apps.document": {"application/pdf", "text/plain"},
    "application/vnd.google-apps.spreadsheet": {"application/pdf", "text/csv"},
}
_TERM = re.compile(
    r"""\s*(?:(?P<value>'(?:[^'\\]|\\['\\])*')\s+in\s+parents
    |(?P<name>name|mimeType|trashed)\s*(?P<op>=|!=|contains)\s*(?P<other>'(?:[^'\\]|\\['\\])*'|true|false)
    |(?P<open>\()|(?P<close>\)))\s*""",
    re.VERBOSE,
)
_WRITABLE = {"name", "mimeType", "parents", "id", "trashed", "description", "properties", "appProperties"}


@dataclass
class Stored:
    id: str
    name: str
    type: str
    parents: list[str]
    content: bytes = b""
    created_at: datetime = datetime(2026, 11, 20, tzinfo=UTC)
    modified_at: datetime = datetime(2026, 11, 20, tzinfo=UTC)
    trashed: bool = False
    # Of somebody who shared it for reading only.
    read_only: bool = False
    revisions: list[tuple[str, bytes]] = field(default_factory=list)
    permissions: list[dict[str, Any]] = field(default_factory=list)


class DriveApi(Api):
    """The drive of one person; a test may read and change `stored` at any time."""

    document: ClassVar[str] = "google/drive.v3.json"

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[str, Stored] = {ROOT: Stored(ROOT, "My Drive", FOLDER, [])}
        self.full = False
        # So many of the next writes are done, and their answers lost.
        self.lose = 0
        # Called when a version is about to be written: somebody else may be faster.
        self.before_write = lambda: None
        self.mails: list[str] = []
        self._given: set[str] = set()
        self._count = 0
        self._lock = threading.RLock()

    # what a test may do

    def add(
        self, name: str, content: bytes = b"", *, type: str = "text/plain", folder: str = ROOT, **more: Any
    ) -> Stored:
        file = Stored(self._next("file"), name, type, [folder], **more)
        self.stored[file.id] = file
        self.write(file, content)
        return file

    def add_folder(self, name: str, folder: str = ROOT) -> Stored:
        return self.add(name, type=FOLDER, folder=folder)

    def write(self, file: Stored, content: bytes) -> None:
        file.content = content
        file.modified_at = self._tick()
        file.revisions.append((self._next("rev"), content))

    def named(self, name: str) -> Stored:
        [found] = [file for file in self.stored.values() if file.name == name]
        return found

    # answering

    def answer(self, call: Call) -> Any:
        with self._lock:
            said = super().answer(call)
            if (
                not isinstance(said, Says)
                and call.method.rpartition(".")[2] in {"create", "update", "copy"}
                and self.lose
            ):
                self.lose -= 1
                return Says(hang_up=True)
            if isinstance(said, Says) or "fields" not in call.params:
                return said
            return _picked(said, call.params["fields"])

    def about_get(self, call: Call) -> Any:
        if "fields" not in call.params:
            return says_error(400, "required", "The 'fields' parameter is required for this method.")
        return {"user": {"emailAddress": call.account, "displayName": "Ada"}}

    def files_list(self, call: Call) -> Any:
        try:
            matches = _Query(call.params.get("q", "trashed = false"))
        except ValueError:
            return says_error(400, "invalid", "Invalid Value")
        missing = [parent for parent in matches.parents if parent not in self.stored and parent != "root"]
        if missing:
            return _gone(".")
        found = [file for file in self.stored.values() if file.id != ROOT and matches(file)]
        if call.params.get("orderBy") == "modifiedTime desc":
            found.sort(key=lambda file: file.modified_at, reverse=True)
        start, size = int(call.params.get("pageToken", 0)), call.params.get("pageSize", 100)
        if not 1 <= size <= 1000:
            return says_error(
                400, "invalid", f"Invalid value '{size}'. Values must be within the range: [1, 1000]"
            )
        more = {"nextPageToken": str(start + size)} if start + size < len(found) else {}
        return {"files": [_meta(file) for file in found[start : start + size]], **more}

    def files_get(self, call: Call) -> Any:
        file = self._file(call)
        if file is None:
            return _gone(call.params["fileId"])
        if call.params.get("alt") != "media":
            return _meta(file)
        if file.type.startswith(_NATIVE):
            message = "Only files with binary content can be downloaded. Use Export with Docs Editors files."
            return says_error(403, "fileNotDownloadable", message)
        return Says(200, file.content, {"Content-Type": file.type})

    def files_generateIds(self, call: Call) -> Any:  # noqa: N802
        made = [self._next("given") for _ in range(call.params.get("count", 10))]
        self._given.update(made)
        return {"kind": "drive#generatedIds", "space": "drive", "ids": made}

    def files_create(self, call: Call) -> Any:
        body = call.body or {}
        if refused := self._refused(call, body):
            return refused
        file = Stored(
            body.get("id") or self._next("file"),
            body.get("name", "Untitled"),
            body.get("mimeType") or call.media_type or "application/octet-stream",
            [self._id(parent) for parent in body.get("parents", [ROOT])],
            created_at=self._tick(),
        )
        self.stored[file.id] = file
        self.write(file, call.media or b"")
        return _meta(file)

    def files_update(self, call: Call) -> Any:
        if call.media is not None:
            self.before_write()
        file, body = self._file(call), call.body or {}
        if file is None:
            return _gone(call.params["fileId"])
        if file.read_only:
            message = "The user does not have sufficient permissions for this file."
            return says_error(403, "insufficientFilePermissions", message)
        if refused := self._refused(call, {name: body[name] for name in body if name != "id"}):
            return refused
        file.name, file.trashed = body.get("name", file.name), body.get("trashed", file.trashed)
        added, removed = (_ids(call.params.get(name, "")) for name in ("addParents", "removeParents"))
        file.parents = [p for p in file.parents if p not in removed] + [self._id(one) for one in added]
        file.modified_at = self._tick()
        if call.media is not None:
            self.write(file, call.media)
        return _meta(file)

    def files_copy(self, call: Call) -> Any:
        file, body = self._file(call), call.body or {}
        if file is None:
            return _gone(call.params["fileId"])
        if refused := self._refused(call, body):
            return refused
        parents = [self._id(parent) for parent in body.get("parents", file.parents)]
        copied = Stored(self._next("file"), body.get("name", f"Copy of {file.name}"), file.type, parents)
        self.stored[copied.id] = copied
        self.write(copied, file.content)
        return _meta(copied)

    def files_delete(self, call: Call) -> Any:
        if self._file(call) is None:
            return _gone(call.params["fileId"])
        del self.stored[self._id(call.params["fileId"])]
        return None

    def files_export(self, call: Call) -> Any:
        file, wanted = self._file(call), call.params["mimeType"]
        if file is None:
            return _gone(call.params["fileId"])
        if wanted not in _EXPORTS.get(file.type, ()):
            return says_error(400, "badRequest", "The requested conversion is not supported.")
        if len(file.content) > 10 * 1024 * 1024:
            return says_error(403, "exportSizeLimitExceeded", "This file is too large to be exported.")
        return Says(200, f"{wanted} of ".encode() + file.content, {"Content-Type": wanted})

    def permissions_create(self, call: Call) -> Any:
        file = self._file(call)
        if file is None:
            return _gone(call.params["fileId"])
        if not {"type", "role"} <= call.body.keys():
            return says_error(400, "required", "The permission type field is required.")
        address = call.body.get("emailAddress", "")
        if call.body["type"] == "user" and not address.endswith(("@example.com", ".example")):
            return says_error(400, "invalidSharingRequest", "Bad Request. User message: no such account")
        file.permissions = [one for one in file.permissions if one["emailAddress"] != address] + [
            dict(call.body)
        ]
        if call.params.get("sendNotificationEmail", True):
            self.mails.append(address)
        return {"id": hashlib.sha256(address.encode()).hexdigest()[:20], **call.body}

    def revisions_list(self, call: Call) -> Any:
        file = self._file(call)
        return (
            {"revisions": [{"id": one} for one, _ in file.revisions]}
            if file
            else _gone(call.params["fileId"])
        )

    def revisions_get(self, call: Call) -> Any:
        file = self._file(call)
        found = dict(file.revisions).get(call.params["revisionId"]) if file else None
        if file is None or found is None:
            return says_error(404, "notFound", f"Revision not found: {call.params['revisionId']}.")
        if call.params.get("alt") != "media":
            return {"id": call.params["revisionId"]}
        return Says(200, found, {"Content-Type": file.type})

    def _refused(self, call: Call, body: Mapping[str, Any]) -> Says | None:
        if unknown := body.keys() - _WRITABLE:
            message = f"The resource body includes fields which are not directly writable: {sorted(unknown)}"
            return says_error(403, "fieldNotWritable", message)
        if (given := body.get("id")) and given in self.stored:
            return says_error(409, "fileIdInUse", "A file already exists with the provided ID.")
        if given and given not in self._given:
            return says_error(400, "invalid", "The provided file ID is not usable.")
        for parent in [*body.get("parents", ()), *_ids(call.params.get("addParents", ""))]:
            if self._id(parent) not in self.stored:
                return _gone(parent)
        if self.full and (call.media is not None or "copy" in call.method):
            return says_error(
                403, "storageQuotaExceeded", "The user's Drive storage quota has been exceeded."
            )
        return None

    def _file(self, call: Call) -> Stored | None:
        return self.stored.get(self._id(call.params["fileId"]))

    def _id(self, given: str) -> str:
        return ROOT if given == "root" else given

    def _next(self, kind: str) -> str:
        self._count += 1
        return f"1{kind.title()}{self._count:020d}"

    def _tick(self) -> datetime:
        return datetime(2026, 11, 21, 8, tzinfo=UTC) + timedelta(milliseconds=self._count)


class _Query:
    """https://developers.google.com/workspace/drive/api/guides/ref-search-terms, terms joined with `and` only."""

    def __init__(self, text: str) -> None:
        self._terms = list(_terms(text))
        self.parents = [value for kind, _, value in self._terms if kind == "parents"]

    def __call__(self, file: Stored) -> bool:
        return all(_fits(file, *term) for term in self._terms)


def _terms(text: str) -> Iterator[tuple[str, str, str]]:
    """Raises ValueError."""
    at, depth, expects_term = 0, 0, True
    while at < len(text):
        if not expects_term and text[at:].startswith("and "):
            at, expects_term = at + 4, True
            continue
        found = _TERM.match(text, at)
        if found is None:
            raise ValueError(text)
        at = found.end()
        if found["open"] or found["close"]:
            depth += 1 if found["open"] else -1
            if expects_term != bool(found["open"]) or depth < 0:
                raise ValueError(text)
            continue
        if not expects_term:
            raise ValueError(text)
        expects_term = False
        if found["value"]:
            yield "parents", "in", _plain(found["value"])
        else:
            yield found["name"], found["op"], _plain(found["other"])
    if expects_term or depth:
        raise ValueError(text)


def _plain(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted[1:-1]) if quoted.startswith("'") else quoted


def _fits(file: Stored, kind: str, op: str, value: str) -> bool:
    if kind == "parents":
        return (ROOT if value == "root" else value) in file.parents
    if kind == "trashed":
        return file.trashed == (value == "true")
    actual = file.name if kind == "name" else file.type
    if op == "contains":
        # Of names only, and of words that begin so.
        return any(
            word.lower().startswith(value.lower()) for word in [actual, *re.split(r"[\s_.-]+", actual)]
        )
    return (actual.lower() == value.lower()) == (op == "=")


def _ids(text: str) -> list[str]:
    return [one for one in text.split(",") if one]


def _meta(file: Stored) -> dict[str, Any]:
    native = file.type.startswith(_NATIVE)
    more = {} if native else {"size": str(len(file.content)), "headRevisionId": file.revisions[-1][0]}
    return {
        "id": file.id,
        "name": file.name,
        "mimeType": file.type,
        "parents": file.parents,
        "createdTime": _time(file.created_at),
        "modifiedTime": _time(file.modified_at),
        "trashed": file.trashed,
        "webViewLink": f"https://drive.google.com/file/d/{file.id}/view",
        "owners": [{"emailAddress": PERSON}],
        **more,
    }


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _gone(file: str) -> Says:
    return says_error(404, "notFound", f"File not found: {file}.")


def _picked(said: Any, fields: str) -> Any:
    """https://developers.google.com/workspace/drive/api/guides/fields-parameter"""
    if isinstance(said, list):
        return [_picked(one, fields) for one in said]
    if not isinstance(said, dict):
        return said
    wanted = dict(re.findall(r"(\w+)(?:\(([^()]*)\))?", fields))
    return {
        name: _picked(value, wanted[name]) if wanted[name] else value
        for name, value in said.items()
        if name in wanted
    }
