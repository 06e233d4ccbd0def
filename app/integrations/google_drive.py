"""Google Drive: store, fetch, move and share files, and start rules with new or changed ones."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal

from app.sdk import mail
from app.sdk.context import FileRef
from app.sdk.declare import Batch, Context, Integration
from app.sdk.fields import Settings, Text, setting
from app.sdk.google import GoogleAccount, OAuth, google_errors, sign_in
from app.sdk.google_files import (
    FOLDER,
    DriveId,
    OptionalDriveId,
    described,
    drive_setting,
    kept,
    open_drive,
    quoted,
)
from app.sdk.google_sightings import WatchedFolder, look

drive = Integration(module=__name__, title="Google Drive", about="store, fetch, share and watch files")

_FORMS: Final = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "txt": "text/plain",
}


@drive.connection
class Account(GoogleAccount):
    """A Google account, or a service account with whose address the folders are shared."""

    oauth: ClassVar[OAuth] = sign_in("https://www.googleapis.com/auth/drive", api="Google Drive API")


@drive.check
def check(ctx: Context, connection: Account) -> str:
    """Asks whose drive this is; reads no file."""
    return f"connected to the drive of {open_drive(ctx, connection).owner()}"


class Named(Settings):
    """A file."""

    file: DriveId = drive_setting()


class Placed(Settings):
    """Where it goes."""

    folder: DriveId = drive_setting("Folder", "root")


_KEPT_NAME: Final = setting("Name", "", help="empty: as it is called", max_length=200)


class Upload(Placed):
    """A file to store."""

    file: FileRef = setting("File", help="of an earlier step", example="{{ steps.download.file }}")
    name: Text = _KEPT_NAME


@drive.action("Upload a file", idempotent=True)
def upload(ctx: Context, connection: Account, params: Upload) -> Mapping[str, Any]:
    """Stores a file in a folder; an upload that is repeated after a lost answer makes no second one."""
    place = open_drive(ctx, connection)
    place.folder(params.folder)
    file = ctx.files.find(params.file)
    body = {"name": params.name or file.name, "mimeType": file.type, "parents": [params.folder]}
    return described(place.make({**body, "id": place.kept_id()}, ctx.files.open(file)))


@drive.action("Download a file", idempotent=True)
def download(ctx: Context, connection: Account, params: Named) -> Mapping[str, Any]:
    """Fetches a file for later steps. Google's own documents have to be exported instead."""
    place = open_drive(ctx, connection)
    found = place.get(params.file)
    content = place.content(found)
    return {**described(found), "file": kept(ctx, found["name"], found["mimeType"], content)}


class Export(Named):
    """A document to fetch in another form."""

    form: Literal["pdf", "csv", "xlsx", "docx", "txt"] = setting(
        "Form",
        "pdf",
        choices={
            "pdf": "PDF",
            "csv": "CSV (the first sheet)",
            "xlsx": "Excel",
            "docx": "Word",
            "txt": "plain text",
        },
    )


@drive.action("Export a document", idempotent=True)
def export(ctx: Context, connection: Account, params: Export) -> Mapping[str, Any]:
    """Fetches a Google document, spreadsheet or presentation as PDF, CSV, Excel, Word or text, up to 10 MB."""
    place = open_drive(ctx, connection)
    found = place.get(params.file)
    content = place.exported(found, params.form, _FORMS[params.form])
    return {"file": kept(ctx, f"{found['name']}.{params.form}", _FORMS[params.form], content)}


class Copy(Named, Placed):
    """A file to copy."""

    name: Text = _KEPT_NAME


@drive.action("Copy a file", idempotent=False)
def copy(ctx: Context, connection: Account, params: Copy) -> Mapping[str, Any]:
    """Makes a copy of a file, a Google document too, in a folder."""
    return described(open_drive(ctx, connection).copy(params.file, params.name, params.folder))


class Move(Named):
    """A file to move."""

    folder: DriveId = drive_setting("Folder")


@drive.action("Move a file", idempotent=True)
def move(ctx: Context, connection: Account, params: Move) -> Mapping[str, Any]:
    """Puts a file or folder into another folder."""
    place = open_drive(ctx, connection)
    place.folder(params.folder)
    found = place.get(params.file)
    old = [parent for parent in found.get("parents", ()) if parent != params.folder]
    if not old:
        return described(found)
    return described(place.change(params.file, {}, addParents=params.folder, removeParents=",".join(old)))


class Rename(Named):
    """A file to rename."""

    name: Text = setting("Name", example="invoice {{ event.number }}.pdf", min_length=1, max_length=200)


@drive.action("Rename a file", idempotent=True)
def rename(ctx: Context, connection: Account, params: Rename) -> Mapping[str, Any]:
    """Gives a file or folder another name."""
    return described(open_drive(ctx, connection).change(params.file, {"name": params.name}))


class Folder(Placed):
    """A folder to make."""

    name: Text = setting("Name", example="{{ event.customer }}", min_length=1, max_length=200)


@drive.action("Make a folder", idempotent=True)
def make_folder(ctx: Context, connection: Account, params: Folder) -> Mapping[str, Any]:
    """Makes a folder, unless there is one of that name; gives either."""
    place = open_drive(ctx, connection)
    here = (
        f"{quoted(params.folder)} in parents and mimeType = {quoted(FOLDER)} and name = {quoted(params.name)}"
    )
    with google_errors(f"the folder {params.folder}"):
        known = place.find(here, most=1)
    if known:
        return {**described(known[0]), "created": False}
    body = {"name": params.name, "mimeType": FOLDER, "parents": [params.folder], "id": place.kept_id()}
    return {**described(place.make(body)), "created": True}


class Share(Named):
    """With whom to share a file."""

    email: mail.MailAddress = setting("With", help="a mail address", example="{{ event.email }}")
    role: Literal["reader", "commenter", "writer"] = setting(
        "They may",
        "reader",
        choices={"reader": "read", "commenter": "read and comment", "writer": "change it"},
    )
    notify: bool = setting("Tell them by mail", False, help="a repeat after a lost answer tells them again")


@drive.action("Share a file", idempotent=lambda params: not params.notify)
def share(ctx: Context, connection: Account, params: Share) -> Mapping[str, Any]:
    """Lets somebody read, comment or change a file or folder."""
    address = mail.parse_address(params.email).addr_spec
    open_drive(ctx, connection).share(params.file, address, params.role, notify=params.notify)
    return {"shared_with": address, "role": params.role}


class Find(Settings):
    """Files to find."""

    name: Text = setting("Name", example="{{ event.number }}", min_length=1, max_length=200)
    exactly: bool = setting("The whole name", False, help="otherwise names with a word that begins so")
    folder: OptionalDriveId = setting("Folder", "", help="empty: everywhere")
    most: int = setting("At most", 10, ge=1, le=100)


@drive.action("Find files", idempotent=True)
def find(ctx: Context, connection: Account, params: Find) -> Mapping[str, Any]:
    """Finds files and folders by name, the last changed first; found is false when there is none."""
    query = f"name {'=' if params.exactly else 'contains'} {quoted(params.name)}"
    if params.folder:
        query += f" and {quoted(params.folder)} in parents"
    with google_errors(f"the folder {params.folder}"):
        files = [described(one) for one in open_drive(ctx, connection).find(query, most=params.most)]
    return {"found": bool(files), "file": files[0] if files else None, "files": files}


class Delete(Named):
    """A file to delete."""

    forever: bool = setting(
        "For ever", False, help="otherwise into the bin, where Google keeps it for 30 days"
    )


@drive.action("Delete a file", idempotent=lambda params: not params.forever)
def delete(ctx: Context, connection: Account, params: Delete) -> Mapping[str, Any]:
    """Puts a file, or a folder with all that is in it, into the bin."""
    name = open_drive(ctx, connection).delete(params.file, forever=params.forever)
    return {"deleted": name, "forever": params.forever}


@drive.poll("New file in a folder", every=timedelta(minutes=1))
def new_file(
    ctx: Context, connection: Account, params: WatchedFolder, cursor: Any, recent_keys: list[str]
) -> Batch:
    """Starts a rule for each file that was not in a folder before, uploaded or moved there."""
    return look("new", open_drive(ctx, connection), params, cursor, recent_keys)


@drive.poll("Changed file in a folder", every=timedelta(minutes=1))
def changed_file(
    ctx: Context, connection: Account, params: WatchedFolder, cursor: Any, recent_keys: list[str]
) -> Batch:
    """Starts a rule for each file in a folder whose content or name was changed; new ones do not count."""
    return look("changed", open_drive(ctx, connection), params, cursor, recent_keys)
