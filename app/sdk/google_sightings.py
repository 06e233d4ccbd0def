"""Which files of a Drive folder are new and which were changed, by what each look before has seen."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from app.sdk.declare import Batch, Occurrence
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.google import google_errors
from app.sdk.google_files import FOLDER, Drive, DriveId, described, drive_setting, quoted
from app.sdk.polling import EVERY_MINUTES, first_setting

# Fewer than the keys that are kept, so that no file in the listing is ever forgotten.
MAX_FILES: Final = 4000
_MOST_A_LOOK: Final = 100
_MARK_CHARS: Final = 12


class WatchedFolder(Settings):
    """A folder to watch."""

    folder: DriveId = drive_setting("Folder", example="root", place=True)
    name: Text = setting("Only names with", "", help="such as .pdf; empty: all", max_length=100, place=True)
    every_minutes: int = EVERY_MINUTES
    first: int = first_setting("files that are there already")


def look(  # noqa: PLR0917  what a poll gets
    wanted: Literal["new", "changed"],
    drive: Drive,
    params: WatchedFolder,
    cursor: Any,
    recent_keys: Sequence[str],
) -> Batch:
    """One look at a whole folder: a moved file has an old date, and listings may miss one for a moment.

    A key is a mark of the file and a mark of its version; a file that is gone is remembered for a while.
    """
    files = _listed(drive, params)
    seen = dict.fromkeys(recent_keys)
    known = {key[:_MARK_CHARS]: key for key in seen}
    if cursor is None:
        found = files[::-1][-params.first :] if params.first else []
        return _batch(wanted, found, [_key(file) for file in files])
    if wanted == "new":
        found = [file for file in reversed(files) if _mark(file["id"]) not in known]
    else:
        found = [file for file in reversed(files) if _mark(file["id"]) in known and _key(file) not in seen]
    late = {file["id"] for file in found[_MOST_A_LOOK:]}
    # What is too much for one look stays as it was before.
    now = [known.get(_mark(file["id"]), "") if file["id"] in late else _key(file) for file in files]
    here = {key[:_MARK_CHARS] for key in now}
    gone = [key for mark, key in known.items() if mark not in here]
    return _batch(wanted, found[:_MOST_A_LOOK], gone + [key for key in now if key])


def _listed(drive: Drive, params: WatchedFolder) -> list[dict[str, Any]]:
    """The last changed first."""
    query = f"{quoted(params.folder)} in parents and mimeType != {quoted(FOLDER)}"
    with google_errors(f"the folder {params.folder}"):
        # An empty listing is also what Drive gives for a folder that is in the bin.
        drive.folder(params.folder)
        files = drive.find(query, most=MAX_FILES + 1)
    if len(files) > MAX_FILES:
        raise RejectedError(
            f"the folder {params.folder} has more than {MAX_FILES} files, the most that can be watched"
        )
    return [file for file in files if params.name.casefold() in file["name"].casefold()]


def _batch(wanted: str, found: Sequence[Mapping[str, Any]], keys: list[str]) -> Batch:
    occurrences = [
        Occurrence(_mark(file["id"]) if wanted == "new" else _key(file), described(file)) for file in found
    ]
    return Batch(occurrences, True, keys)


def _key(file: Mapping[str, Any]) -> str:
    version = file.get("headRevisionId") or file["modifiedTime"]
    return _mark(file["id"]) + _mark(f"{version} {file['name']}")


def _mark(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=_MARK_CHARS // 2).hexdigest()
