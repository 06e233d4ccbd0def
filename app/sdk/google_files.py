"""Files of Google Drive through googleapiclient: found by id or address, described, read, and written whole."""

import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator

from app.sdk.context import MAX_FILE_BYTES, Context
from app.sdk.errors import RejectedError, TemporaryError
from app.sdk.fields import Text, setting
from app.sdk.google import GoogleAccount, GoogleRefusedError, google_errors, rest
from app.sdk.reading import reading
from app.sdk.workbooks import spooled

FIELDS: Final = (
    "id,name,mimeType,size,parents,createdTime,modifiedTime,headRevisionId,webViewLink,trashed,md5Checksum"
)
FOLDER: Final = "application/vnd.google-apps.folder"
NATIVE: Final = "application/vnd.google-apps."
_ID: Final = re.compile(r"[A-Za-z0-9_-]{10,100}|root")
_LINK: Final = re.compile(
    r"https://(?:drive|docs)\.google\.com/(?:.*/(?:d|folders)/|.*[?&]id=)([A-Za-z0-9_-]{10,100})"
)
# A multiple of 256 KB, as Google wants it.
_PART_BYTES: Final = 8 * 1024 * 1024
ALL_DRIVES: Final = {"supportsAllDrives": True}


def file_id(text: str) -> str:
    """Of a file's or folder's address, or of its id; raises ValueError."""
    plain = text.strip()
    found = _LINK.match(plain)
    if found is None and not _ID.fullmatch(plain):
        raise ValueError("must be the address of a file or folder in google drive, or the id in it")
    return found[1] if found else plain


DriveId: TypeAlias = Annotated[Text, AfterValidator(file_id)]
OptionalDriveId: TypeAlias = Annotated[Text, AfterValidator(lambda text: text and file_id(text))]


def drive_setting(
    title: str = "File", default: Any = ..., example: Any = "{{ event.id }}", *, place: bool = False
) -> Any:
    help = "its address in the browser, or its id"
    return setting(title, default, help=help, example=example, place=place)


def described(file: Mapping[str, Any]) -> dict[str, Any]:
    """A file as steps and events have it."""
    return {
        "id": file["id"],
        "name": file["name"],
        "type": file["mimeType"],
        "bytes": int(file.get("size", 0)),
        "folder": next(iter(file.get("parents", ())), ""),
        "link": file.get("webViewLink", ""),
        "created_at": file.get("createdTime", ""),
        "modified_at": file.get("modifiedTime", ""),
    }


def quoted(text: str) -> str:
    """https://developers.google.com/workspace/drive/api/guides/search-files"""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class OvertakenError(TemporaryError):
    """Our version took the place of one that somebody else made at the same moment: `theirs` is its content."""

    def __init__(self, name: str, *, ours: str, theirs: bytes) -> None:
        super().__init__(
            f"{name} was changed by somebody else at the same moment; theirs is among its versions in drive"
        )
        self.ours, self.theirs = ours, theirs


@dataclass(frozen=True, slots=True)
class Drive:
    """`files` and `permissions` are googleapiclient's."""

    ctx: Context
    service: Any

    @property
    def files(self) -> Any:
        return self.service.files()

    def owner(self) -> str:
        """The address of the person whose drive this is; reads no file."""
        return str(self.service.about().get(fields="user(emailAddress)").execute()["user"]["emailAddress"])

    def get(self, file: str) -> dict[str, Any]:
        """What Drive knows of it; one in the bin counts as gone."""
        with google_errors(f"the file {file}"), reading():
            found: dict[str, Any] = self.files.get(fileId=file, fields=FIELDS, **ALL_DRIVES).execute()
        if found.get("trashed"):
            raise RejectedError(
                f"{found['name']} is in google's bin; take it out again, or choose another file"
            )
        return found

    def folder(self, folder: str) -> dict[str, Any]:
        found = self.get(folder)
        if found["mimeType"] != FOLDER:
            raise RejectedError(f"{found['name']} is no folder; choose one")
        return found

    def find(self, query: str, *, most: int, order: str = "modifiedTime desc") -> list[dict[str, Any]]:
        """Files that a query finds, in all drives, none from the bin."""
        found: list[dict[str, Any]] = []
        token = None
        with reading():
            while True:
                page = self.files.list(
                    q=f"({query}) and trashed = false",
                    pageSize=min(most - len(found), 1000),
                    pageToken=token,
                    orderBy=order,
                    fields=f"nextPageToken,files({FIELDS})",
                    includeItemsFromAllDrives=True,
                    **ALL_DRIVES,
                ).execute()
                found += page.get("files", ())
                token = page.get("nextPageToken")
                if not token or len(found) >= most:
                    return found[:most]

    def content(self, file: Mapping[str, Any]) -> bytes:
        """In one request, so that it is of one version."""
        if str(file["mimeType"]).startswith(NATIVE):
            raise RejectedError(f"{file['name']} is kept in google's own form; export it instead")
        if int(file.get("size", 0)) > MAX_FILE_BYTES:
            raise RejectedError(f"{file['name']} is larger than {MAX_FILE_BYTES // 1024**2} MB")
        with google_errors(f"the file {file['name']}"), reading():
            body: bytes = self.files.get_media(fileId=file["id"], **ALL_DRIVES).execute()
        return body

    def exported(self, file: Mapping[str, Any], form: str, media_type: str) -> bytes:
        """One of Google's own documents in another form."""
        name = file["name"]
        if not str(file["mimeType"]).startswith(NATIVE):
            raise RejectedError(f"{name} is no document of google's; download it instead")
        with google_errors(f"the export of {name} as {form}"), reading():
            try:
                body: bytes = self.files.export_media(fileId=file["id"], mimeType=media_type).execute()
            except GoogleRefusedError as error:
                if "too large" in str(error):
                    raise RejectedError(f"{name} is too large: google exports up to 10 MB") from error
                raise
        return body

    def change(self, file: str, body: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Its name, its folder or whether it is in the bin."""
        with google_errors(f"the file {file}"):
            found: dict[str, Any] = self.files.update(
                fileId=file, body=dict(body), fields=FIELDS, **more, **ALL_DRIVES
            ).execute()
        return found

    def copy(self, file: str, name: str, folder: str) -> dict[str, Any]:
        """A copy of it; without a name it is called as the file is."""
        found = self.get(file)
        body = {"name": name or found["name"], "parents": [folder]}
        with google_errors(f"the file {found['name']}"):
            made: dict[str, Any] = self.files.copy(
                fileId=found["id"], body=body, fields=FIELDS, **ALL_DRIVES
            ).execute()
        return made

    def share(self, file: str, address: str, role: str, *, notify: bool) -> None:
        body = {"type": "user", "role": role, "emailAddress": address}
        with google_errors(f"the file {self.get(file)['name']}"):
            self.service.permissions().create(
                fileId=file, body=body, sendNotificationEmail=notify, fields="id", **ALL_DRIVES
            ).execute()

    def delete(self, file: str, *, forever: bool) -> str:
        """Puts it into the bin, or away for good; its name, also of one that is in the bin already."""
        with google_errors(f"the file {file}"):
            with reading():
                found = self.files.get(fileId=file, fields="name", **ALL_DRIVES).execute()
            if forever:
                self.files.delete(fileId=file, **ALL_DRIVES).execute()
            else:
                self.change(file, {"trashed": True})
        return str(found["name"])

    def kept_id(self) -> str:
        """An id for a file that will be made; the same on every attempt, so that Drive refuses to make it twice."""
        with reading():
            made = self.files.generateIds(count=1, space="drive", type="files").execute()["ids"][0]
        known = self.ctx.memory.recall("file_id")
        if known is None:
            self.ctx.memory.keep("file_id", made)
        return str(known or made)

    def make(self, body: Mapping[str, Any], chunks: Iterable[bytes] | None = None) -> dict[str, Any]:
        """A new file, or the one that an earlier attempt has made under this id."""
        with google_errors(f"the folder {next(iter(body.get('parents', ())), '')}"):
            return self._made(body, chunks)

    def replace(self, file: Mapping[str, Any], chunks: Iterable[bytes], *, based_on: str) -> dict[str, Any]:
        """A new version of it.

        Raises TemporaryError when somebody else has made one since `based_on`, and OvertakenError when theirs came
        while ours was on its way.
        """
        name = file["name"]
        if self.get(file["id"]).get("headRevisionId") != based_on:
            raise TemporaryError(f"{name} was changed by somebody else meanwhile", sent=False)
        with google_errors(f"the file {name}"), spooled(chunks) as content:
            media = _media(content, file["mimeType"])
            request = self.files.update(fileId=file["id"], media_body=media, fields=FIELDS, **ALL_DRIVES)
            found = _sent(request)
        self._look_for_another(found, based_on)
        return found

    def _look_for_another(self, file: Mapping[str, Any], based_on: str) -> None:
        """Drive v3 knows no If-Match: a version may have come between looking and writing."""
        revisions, ours = self.service.revisions(), file.get("headRevisionId")
        with google_errors(f"the versions of {file['name']}"):
            said = revisions.list(fileId=file["id"], fields="revisions(id)", pageSize=1000).execute()
            known = [revision["id"] for revision in said.get("revisions", ())]
            theirs = known[known.index(ours) - 1] if ours in known[1:] else based_on
            if theirs != based_on and based_on in known:
                content = revisions.get_media(fileId=file["id"], revisionId=theirs).execute()
                raise OvertakenError(str(file["name"]), ours=str(ours), theirs=content)

    def _made(self, body: Mapping[str, Any], chunks: Iterable[bytes] | None) -> dict[str, Any]:
        more = {"body": dict(body), "fields": FIELDS, **ALL_DRIVES}
        try:
            if chunks is None:
                found: dict[str, Any] = self.files.create(**more).execute()
                return found
            with spooled(chunks) as content:
                return _sent(self.files.create(media_body=_media(content, body["mimeType"]), **more))
        except GoogleRefusedError as error:
            if "storage quota" in str(error):
                raise RejectedError(
                    "the drive is full, or the account has none of its own; make room, or use a shared drive"
                ) from error
            if error.status != 409 or "id" not in body:
                raise
            return self.get(body["id"])


def open_drive(ctx: Context, connection: GoogleAccount) -> Drive:
    return Drive(ctx, rest(ctx, connection, "drive", "v3"))


def kept(ctx: Context, name: str, media_type: str, content: bytes) -> dict[str, Any]:
    """The content as a file of ours, by reference."""
    return ctx.files.save(name, media_type, [content]).model_dump()


def _media(content: Any, media_type: str) -> Any:
    library = importlib.import_module("googleapiclient.http")
    return library.MediaIoBaseUpload(content, mimetype=media_type, chunksize=_PART_BYTES, resumable=True)


def _sent(request: Any) -> dict[str, Any]:
    """Until all its parts have arrived there is no file; an answer to the last one may be lost."""
    found: dict[str, Any] | None = None
    while found is None:
        _, found = request.next_chunk()
    return found
