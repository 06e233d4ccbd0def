"""Workbooks where they are kept: a file of an earlier step, or one on Google Drive that others may change, too."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.sdk import workbooks
from app.sdk.cells import Area
from app.sdk.context import Context, FileRef
from app.sdk.errors import RejectedError, TemporaryError
from app.sdk.google import GoogleAccount
from app.sdk.google_files import Drive, OvertakenError, open_drive
from app.sdk.workbook_edit import Edit, edited


@dataclass(frozen=True, slots=True)
class StoredBook:
    """A stored file; a change makes a new one."""

    ctx: Context
    file: FileRef

    def content(self) -> Iterable[bytes]:
        return self.ctx.files.open(self.file)

    def change(self, sheet: str, edit: Edit) -> tuple[Area, Mapping[str, Any]]:
        """What was changed, and the reference of the new file."""
        area, changed = edited(self.content(), sheet, edit)
        kept = self.ctx.files.save(self.file.name, workbooks.MEDIA_TYPE, changed)
        return area, {"file": kept.model_dump()}


@dataclass(frozen=True, slots=True)
class DriveBook:
    """A file on Drive, as it was when it was found."""

    drive: Drive
    file: Mapping[str, Any]

    @property
    def version(self) -> str:
        return str(self.file["headRevisionId"])

    def content(self) -> Iterable[bytes]:
        return [self.drive.content(self.file)]

    def change(self, sheet: str, edit: Edit) -> tuple[Area, Mapping[str, Any]]:
        """What was changed, and the file's id."""
        area, changed = edited(self.content(), sheet, edit)
        try:
            return area, self._replaced(changed, self.version)
        except OvertakenError as overtaken:
            # Ours without theirs is there now; once more, on top of theirs.
            area, changed = edited([overtaken.theirs], sheet, edit)
            try:
                return area, self._replaced(changed, overtaken.ours)
            except TemporaryError as again:
                raise overtaken from again

    def _replaced(self, chunks: Iterable[bytes], version: str) -> Mapping[str, Any]:
        return {"drive_file": self.drive.replace(self.file, chunks, based_on=version)["id"]}


def open_book(
    ctx: Context, connection: GoogleAccount | None, file: FileRef | None, drive_file: str
) -> StoredBook | DriveBook:
    """The stored file, or without one the file on Drive, for which it takes an account."""
    if file is not None:
        return StoredBook(ctx, ctx.files.find(file))
    if connection is None:
        raise RejectedError("a file on google drive needs a connection; choose one")
    return drive_book(ctx, connection, drive_file)


def drive_book(ctx: Context, connection: GoogleAccount, file: str) -> DriveBook:
    drive = open_drive(ctx, connection)
    found = drive.get(file)
    if "headRevisionId" not in found:
        raise RejectedError(
            f"{found['name']} is no .xlsx workbook; for a google sheet use the google sheets steps"
        )
    return DriveBook(drive, found)
