"""Which mails of an IMAP folder were not there at the last look: by UID, and by what identifies a mail."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from app.sdk import received
from app.sdk.declare import Batch, Occurrence
from app.sdk.imap import Folder, Session

_MAILS_A_LOOK: Final = 20
_KEYS_KEPT: Final = 2_000
_IDENTIFIED_AT_FIRST: Final = 500
_OVERLAP: Final = timedelta(days=1)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the last look got to. UIDs mean nothing any more when the server changes `uidvalidity`."""

    folder: str
    uidvalidity: int
    last_uid: int
    looked_at: str


@dataclass(frozen=True, slots=True)
class Look:
    """`taken` are UID and key of the mails to read, `known` the keys of those that were there before."""

    folder: Folder
    taken: list[tuple[int, str]]
    known: list[str]
    last_uid: int
    is_first: bool

    def batch(self, occurrences: list[Occurrence], *, left: int | None, at: datetime) -> Batch:
        """`left` is the UID of the first mail that was taken and not read, if any."""
        last_uid = left - 1 if left and not self.is_first else self.last_uid
        place = _Place(self.folder.name, self.folder.uidvalidity, last_uid, at.date().isoformat())
        keys = [*self.known, *(str(occurrence.key) for occurrence in occurrences)]
        return Batch(occurrences, asdict(place), list(dict.fromkeys(keys))[-_KEYS_KEPT:])


def look(
    client: Session,
    folder: Folder,
    cursor: Mapping[str, Any] | None,
    recent_keys: Sequence[str],
    *,
    first: int,
) -> Look:
    """The first look at a folder takes the last `first` mails, every other one what is new."""
    if cursor is None or cursor["folder"] != folder.name:
        return _begin(client, folder, first)
    return _go_on(client, folder, _Place(**cursor), recent_keys)


def _begin(client: Session, folder: Folder, first: int) -> Look:
    """What is there already is known from now on, but for the last few that were asked for."""
    least = max(1, folder.messages - max(_IDENTIFIED_AT_FIRST, first) + 1)
    there = _identified(client, client.find(f"{least}:*") if folder.messages else [])
    taken = there[len(there) - first :] if first else []
    last_uid = max([folder.next_uid - 1, *(uid for uid, _ in there)])
    return Look(folder, taken, [key for _, key in there], last_uid, is_first=True)


def _go_on(client: Session, folder: Folder, place: _Place, recent_keys: Sequence[str]) -> Look:
    uids, known = _new(client, folder, place)[:_MAILS_A_LOOK], set(recent_keys)
    taken = [(uid, key) for uid, key in _identified(client, uids) if key not in known]
    last_uid = place.last_uid if place.uidvalidity == folder.uidvalidity else 0
    # Those that are known are passed over for good.
    return Look(folder, taken, list(recent_keys), max([last_uid, *uids]), is_first=False)


def _new(client: Session, folder: Folder, place: _Place) -> list[int]:
    if folder.uidvalidity == place.uidvalidity:
        # The last message fits `n:*` even when its UID is below n (RFC 9051 §9).
        return [uid for uid in client.find("UID", f"{place.last_uid + 1}:*") if uid > place.last_uid]
    since = datetime.fromisoformat(place.looked_at) - _OVERLAP
    return client.find("SINCE", f"{since.day}-{_MONTHS[since.month - 1]}-{since.year}")


def _identified(client: Session, uids: list[int]) -> list[tuple[int, str]]:
    found = client.look(uids, "HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)")
    return sorted((each.uid, received.identity(each.content)) for each in found)
