"""IMAP: start a rule with each mail that arrives in a folder."""

import time
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any, Final, Literal

from pydantic import SecretStr, field_validator

from app.sdk import arrivals, received
from app.sdk.channels import Server
from app.sdk.declare import Batch, Context, Integration, Occurrence
from app.sdk.fields import Settings, setting
from app.sdk.imap import MAX_LITERAL_BYTES, Fetched, Session, session
from app.sdk.mail import HeaderText
from app.sdk.polling import EVERY_MINUTES, first_setting

imap = Integration(module=__name__, title="Mail in (IMAP)", about="start rules with mails that arrive")

_CHECK_DEADLINE_S: Final = 20.0
_LOOK_DEADLINE_S: Final = 100.0
# When so much of a look is used, what is left waits for the next one.
_ENOUGH_S: Final = 50.0


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
        help="with TLS it encrypts from the first byte; with STARTTLS it begins plain and then encrypts",
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

    folder: HeaderText = setting(
        "Folder", "INBOX", example="INBOX", help="as your mail program shows it", place=True
    )
    attachments: bool = setting("Keep attachments", True, help="up to 20 of a mail, each up to 25 MB")
    mark_read: bool = setting("Mark as read", False)
    every_minutes: int = EVERY_MINUTES
    first: int = first_setting("0 begins with what arrives from now")


@imap.poll("New mail", every=timedelta(minutes=1))
def new_mail(
    ctx: Context, connection: Account, params: Arriving, cursor: Any, recent_keys: Sequence[str]
) -> Batch:
    """Looks into a folder regularly; each mail that was not there before starts the rule once."""
    with session(ctx.guard, _server(connection), deadline_s=_LOOK_DEADLINE_S) as client:
        folder = client.open_folder(params.folder, writable=params.mark_read)
        look = arrivals.look(client, folder, cursor, recent_keys, first=params.first)
        occurrences, left = _occurrences(ctx, client, params, look.taken)
    return look.batch(occurrences, left=left, at=ctx.now)


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
