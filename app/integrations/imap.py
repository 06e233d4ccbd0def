"""IMAP: start a rule with each mail that arrives in a folder."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import SecretStr, field_validator

from app.sdk import received
from app.sdk.declare import Batch, Context, Integration, Occurrence
from app.sdk.fields import Settings, setting
from app.sdk.imap import MAX_LITERAL_BYTES, Fetched, Folder, Server, Session, session
from app.sdk.mail import HeaderText

imap = Integration(module=__name__, title="Mail in (IMAP)", about="start rules with mails that arrive")

_CHECK_DEADLINE_S: Final = 20.0
_LOOK_DEADLINE_S: Final = 100.0
# When so much of a look is used, what is left waits for the next one.
_ENOUGH_S: Final = 50.0
_MAILS_A_LOOK: Final = 20
_KEYS_KEPT: Final = 2_000
_IDENTIFIED_AT_FIRST: Final = 500
_OVERLAP: Final = timedelta(days=1)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@imap.connection
class Account(Settings):
    """A mailbox. Your mail provider lists these under IMAP or incoming mail; some want IMAP allowed first."""

    host: HeaderText = setting(
        "Mail server", example="imap.example.com", where="under incoming mail (IMAP)", min_length=1
    )
    port: int = setting("Port", 993, help="993 with TLS, 143 with STARTTLS", example=993, ge=1, le=65535)
    security: Literal["tls", "starttls"] = setting(
        "Encryption",
        "tls",
        help="with tls it encrypts from the first byte; with starttls it begins plain and then encrypts",
        example="tls",
    )
    username: HeaderText = setting("User name", example="orders@example.com", min_length=1)
    password: SecretStr = setting(
        "Password",
        example="correct horse battery",
        where="often an app password, made under security in your mail account",
    )
    accept_self_signed: bool = setting(
        "Accept a self-signed certificate",
        False,
        help="only for your own server: whoever stands in between can then read the password",
    )

    @field_validator("password")
    @classmethod
    def _is_one_line(cls, password: SecretStr) -> SecretStr:
        if not password.get_secret_value() or not password.get_secret_value().isprintable():
            raise ValueError("is needed, without line breaks")
        return password


def _server(connection: Account) -> Server:
    return Server(
        host=connection.host.strip(),
        port=connection.port,
        security=connection.security,
        username=connection.username,
        password=connection.password.get_secret_value(),
        accept_self_signed=connection.accept_self_signed,
    )


@imap.check
def check(ctx: Context, connection: Account) -> str:
    """Connects, encrypts, signs in and looks at the inbox; changes nothing."""
    with session(ctx.guard, _server(connection), deadline_s=_CHECK_DEADLINE_S) as client:
        folder = client.open_folder("INBOX", writable=False)
    mails = "mail" if folder.messages == 1 else "mails"
    return f"signed in to {connection.host} as {connection.username}; the inbox has {folder.messages} {mails}"


class Arriving(Settings):
    """Which mails, and how often to look."""

    folder: HeaderText = setting("Folder", "INBOX", example="INBOX", help="as your mail program shows it")
    attachments: bool = setting("Keep attachments", True, help="up to 20 of a mail, each up to 25 MB")
    mark_read: bool = setting("Mark as read", False)
    every_minutes: int = setting("Look every … minutes", 5, ge=1, le=1440)
    first: int = setting(
        "At first, take the last", 0, help="0 begins with what arrives from now", ge=0, le=100
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the last look got to. UIDs mean nothing any more when the server changes `uidvalidity`."""

    folder: str
    uidvalidity: int
    last_uid: int
    looked_at: str


@imap.poll(
    "New mail",
    every=timedelta(minutes=1),
    samples=[
        {
            "message_id": "<5d41402abc4b2a76@example.com>",
            "subject": "order A-1001",
            "from": {"name": "Ada Example", "address": "ada@example.com"},
            "to": [{"name": "", "address": "orders@example.com"}],
            "cc": [],
            "reply_to": [],
            "in_reply_to": "",
            "references": [],
            "sent_at": "2026-11-21T08:58:12Z",
            "automatic": False,
            "text": "Please send two of the blue ones.",
            "html": "",
            "attachments": [
                {
                    "name": "order.pdf",
                    "type": "application/pdf",
                    "bytes": 48213,
                    "inline": False,
                    "content_id": "",
                    "file": {
                        "id": "fil_01khm2v8t3n5w7x9y0z1a2b3c4",
                        "name": "order.pdf",
                        "type": "application/pdf",
                        "bytes": 48213,
                        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    },
                    "left_out": "",
                }
            ],
            "problem": "",
            "uid": 4711,
            "folder": "INBOX",
            "received_at": "2026-11-21T08:58:14Z",
        }
    ],
)
def new_mail(
    ctx: Context, connection: Account, params: Arriving, cursor: Any, recent_keys: Sequence[str]
) -> Batch:
    """Looks into a folder regularly; each mail that was not there before starts the rule once."""
    place = _Place(**cursor) if cursor and cursor["folder"] == params.folder else None
    with session(ctx.guard, _server(connection), deadline_s=_LOOK_DEADLINE_S) as client:
        folder = client.open_folder(params.folder, writable=params.mark_read)
        if place is None:
            taken, keys, last_uid = _begin(client, folder, params)
        else:
            taken, last_uid = _go_on(client, folder, place, recent_keys)
            keys = list(recent_keys)
        occurrences, left = _occurrences(ctx, client, params, taken)
    if left and place:
        last_uid = left - 1
    at = _Place(params.folder, folder.uidvalidity, last_uid, ctx.now.date().isoformat())
    keys += [str(occurrence.key) for occurrence in occurrences]
    return Batch(occurrences, asdict(at), list(dict.fromkeys(keys))[-_KEYS_KEPT:])


def _begin(client: Session, folder: Folder, params: Arriving) -> tuple[list[tuple[int, str]], list[str], int]:
    """What is there already is known from now on, but for the last few that were asked for."""
    least = max(1, folder.messages - max(_IDENTIFIED_AT_FIRST, params.first) + 1)
    there = _identified(client, client.find(f"{least}:*") if folder.messages else [])
    taken = there[len(there) - params.first :] if params.first else []
    last_uid = max([folder.next_uid - 1, *(uid for uid, _ in there)])
    return taken, [key for _, key in there], last_uid


def _new(client: Session, folder: Folder, place: _Place) -> list[int]:
    if folder.uidvalidity == place.uidvalidity:
        # The last message fits `n:*` even when its UID is below n (RFC 9051 §9).
        return [uid for uid in client.find("UID", f"{place.last_uid + 1}:*") if uid > place.last_uid]
    since = datetime.fromisoformat(place.looked_at) - _OVERLAP
    return client.find("SINCE", f"{since.day}-{_MONTHS[since.month - 1]}-{since.year}")


def _go_on(
    client: Session, folder: Folder, place: _Place, recent_keys: Sequence[str]
) -> tuple[list[tuple[int, str]], int]:
    uids, known = _new(client, folder, place)[:_MAILS_A_LOOK], set(recent_keys)
    taken = [(uid, key) for uid, key in _identified(client, uids) if key not in known]
    last_uid = place.last_uid if place.uidvalidity == folder.uidvalidity else 0
    # Those that are known are passed over for good.
    return taken, max([last_uid, *uids])


def _identified(client: Session, uids: list[int]) -> list[tuple[int, str]]:
    found = client.look(uids, "HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)")
    return sorted((each.uid, received.identity(each.content)) for each in found)


def _occurrences(
    ctx: Context, client: Session, params: Arriving, taken: list[tuple[int, str]]
) -> tuple[list[Occurrence], int | None]:
    """With the UID at which time was up, if it was."""
    ends_at = time.monotonic() + _ENOUGH_S
    occurrences: list[Occurrence] = []
    for uid, key in taken:
        if time.monotonic() > ends_at:
            return occurrences, uid
        # None when the mail was moved away a moment ago.
        for fetched in client.look([uid], ""):
            occurrences.append(Occurrence(key, _data(ctx, params, fetched)))
            if params.mark_read:
                client.mark_read(uid)
    return occurrences, None


def _data(ctx: Context, params: Arriving, fetched: Fetched) -> dict[str, Any]:
    data = received.read(fetched.content, ctx.files if params.attachments else None)
    if fetched.size_bytes >= MAX_LITERAL_BYTES:
        data["problem"] = "it is too large; only its beginning was read"
    received_at = (fetched.received_at or ctx.now).astimezone(UTC)
    where = {"uid": fetched.uid, "folder": params.folder}
    return data | where | {"received_at": received_at.isoformat().replace("+00:00", "Z")}
