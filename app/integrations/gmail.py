"""Gmail: send, answer and label mails, and start rules with those that a search finds."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final

from pydantic import ValidationInfo, field_validator

from app.sdk import google_mail, mail, received
from app.sdk.attachments import FileList
from app.sdk.declare import Batch, Context, Integration, Occurrence, Sample
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.google import GoogleAccount, OAuth, google_errors, rest, sign_in, upload
from app.sdk.mail import HeaderText, MailAddress

gmail = Integration(module=__name__, title="Gmail", about="send, answer and label mails of a Google account")

_ME: Final = "me"
# The most that the discovery document allows for sending.
_MAX_MAIL_BYTES: Final = 36_700_160
_MAILS_A_LOOK: Final = 25


@gmail.connection
class Account(GoogleAccount):
    """A Google account you sign in to, or a service account that acts as a person of your Google Workspace."""

    oauth: ClassVar[OAuth] = sign_in("https://www.googleapis.com/auth/gmail.modify", api="Gmail API")


def _users(ctx: Context, connection: Account) -> Any:
    return rest(ctx, connection, "gmail", "v1").users()


@gmail.check
def check(ctx: Context, connection: Account) -> str:
    """Asks whose mailbox this is; reads no mail."""
    profile = _users(ctx, connection).getProfile(userId=_ME).execute()
    return f"connected to {profile['emailAddress']}"


class Written(Settings):
    """What a mail says."""

    text: Text = setting("Text", "", example="the total is {{ event.total }}", widget="textarea")
    html: Text = setting(
        "HTML", "", help="for programs that show it", widget="textarea", validate_default=True
    )
    attachments: FileList = setting(
        "Attachments",
        [],
        help="files of earlier steps, 25 MB together",
        example="{{ steps.download.file }}",
        widget="list",
        max_length=50,
    )

    @field_validator("html")
    @classmethod
    def _says_something(cls, html: str, info: ValidationInfo) -> str:
        if not html and info.data.get("text") == "":
            raise ValueError("write a text, html, or both")
        return html


class Mail(Written):
    """A mail."""

    to: list[MailAddress] = setting(
        "To",
        help="one address, or several with commas between",
        example=["ada@example.com"],
        min_length=1,
        max_length=100,
    )
    cc: list[MailAddress] = setting("Cc", [], max_length=100)
    bcc: list[MailAddress] = setting("Bcc", [], help="not shown to the others", max_length=100)
    reply_to: list[MailAddress] = setting(
        "Answers go to", [], help="without it, to the account", max_length=1
    )
    subject: HeaderText = setting("Subject", example="order {{ event.order }}", max_length=900)


@gmail.action(
    "Send a mail",
    idempotent=False,
    samples=[
        Sample(
            {"to": ["ada@example.com"], "subject": "order A-1001", "text": "the total is 150"},
            {"id": "18c2f1a0b7d3e456", "thread_id": "18c2f1a0b7d3e456", "to": ["ada@example.com"]},
        )
    ],
)
def send(ctx: Context, connection: Account, params: Mail) -> Mapping[str, Any]:
    """Sends one mail from the account, with files if you like."""
    named = {"To": params.to, "Cc": params.cc, "Bcc": params.bcc, "Reply-To": params.reply_to}
    headers: dict[str, Any] = {
        name: [mail.parse_address(one) for one in some] for name, some in named.items()
    }
    return _sent(ctx, connection, headers | {"Subject": params.subject}, params)


class Reply(Written):
    """An answer to a mail."""

    message: Text = setting(
        "Mail", help="the id that Gmail gave it", example="{{ event.id }}", min_length=1, max_length=100
    )
    to_all: bool = setting("Answer everybody", False, help="all who got the mail, not only who sent it")


@gmail.action(
    "Answer a mail",
    idempotent=False,
    samples=[
        Sample(
            {"message": "18c2f1a0b7d3e455", "text": "It is on its way."},
            {"id": "18c2f1a0b7d3e457", "thread_id": "18c2f1a0b7d3e455", "to": ["ada@example.com"]},
        )
    ],
)
def reply(ctx: Context, connection: Account, params: Reply) -> Mapping[str, Any]:
    """Answers a mail in its conversation, under its subject."""
    users = _users(ctx, connection)
    with google_errors(f"the mail {params.message}"):
        found = users.messages().get(userId=_ME, id=params.message, format="raw").execute()
    before = received.read(google_mail.decoded(found["raw"]), None)
    own = users.getProfile(userId=_ME).execute()["emailAddress"] if params.to_all else ""
    said = before["subject"]
    threading = [*before["references"], before["message_id"]]
    headers = {
        "To": google_mail.addresses(before["reply_to"] or [before["from"]]),
        "Cc": google_mail.addresses(before["to"] + before["cc"], but=own) if params.to_all else [],
        "Subject": said if said.lower().startswith("re:") else f"Re: {said}",
        "In-Reply-To": before["message_id"],
        "References": " ".join(one for one in threading if one)[-900:].lstrip(),
    }
    if not headers["To"]:
        raise RejectedError(f"the mail {params.message} names nobody to answer; send a new mail instead")
    return _sent(ctx, connection, headers, params, thread=found["threadId"])


def _sent(
    ctx: Context,
    connection: Account,
    headers: Mapping[str, Any],
    params: Written,
    *,
    thread: str | None = None,
) -> Mapping[str, Any]:
    attachments = mail.attached(ctx.files, params.attachments)
    composed = mail.compose(headers, params.text, params.html, at=ctx.now)
    message = mail.outgoing(composed, attachments, ctx.files, smtp=False)
    if len(message) > _MAX_MAIL_BYTES:
        raise RejectedError(
            f"the mail has {len(message) // 1024**2} MB, and Gmail takes 35; send fewer files"
        )
    media = upload(b"".join(message), "message/rfc822")
    body = {"threadId": thread} if thread else {}
    with google_errors("this mail"):
        sent = _users(ctx, connection).messages().send(userId=_ME, body=body, media_body=media).execute()
    return {"id": sent["id"], "thread_id": sent["threadId"], "to": [one.addr_spec for one in headers["To"]]}


class Labels(Settings):
    """Labels of a mail."""

    message: Text = setting(
        "Mail", help="the id that Gmail gave it", example="{{ event.id }}", min_length=1, max_length=100
    )
    add: list[Text] = setting(
        "Add", [], help="names with commas between; STARRED is one too", example=["Orders"]
    )
    remove: list[Text] = setting(
        "Remove", [], help="UNREAD marks as read, INBOX archives", example=["UNREAD"]
    )
    make: bool = setting("Make labels that are missing", True)


@gmail.action(
    "Label a mail",
    idempotent=True,
    samples=[
        Sample(
            {"message": "18c2f1a0b7d3e455", "add": ["Orders"], "remove": ["UNREAD"]},
            {"id": "18c2f1a0b7d3e455", "thread_id": "18c2f1a0b7d3e455", "labels": ["Label_1", "INBOX"]},
        )
    ],
)
def label(ctx: Context, connection: Account, params: Labels) -> Mapping[str, Any]:
    """Puts labels on a mail and takes others off: marks it as read, stars it, archives it."""
    users = _users(ctx, connection)
    known = {
        one["name"].lower(): one["id"] for one in users.labels().list(userId=_ME).execute().get("labels", [])
    }
    if params.make:
        known |= {name.lower(): _made(users, name) for name in params.add if name.lower() not in known}
    body = {"addLabelIds": _ids(params.add, known), "removeLabelIds": _ids(params.remove, known)}
    with google_errors(f"the mail {params.message}"):
        changed = users.messages().modify(userId=_ME, id=params.message, body=body).execute()
    return {"id": changed["id"], "thread_id": changed["threadId"], "labels": changed.get("labelIds", [])}


def _made(users: Any, name: str) -> str:
    with google_errors(f"the label {name}"):
        made: str = users.labels().create(userId=_ME, body={"name": name}).execute()["id"]
    return made


def _ids(names: Sequence[str], known: Mapping[str, str]) -> list[str]:
    if unknown := [name for name in names if name.lower() not in known]:
        raise RejectedError(f"gmail has no label {unknown[0][:80]}; make it there or choose another one")
    return [known[name.lower()] for name in names]


class Search(Settings):
    """Which mails, and how often to look."""

    query: Text = setting(
        "Search",
        "in:inbox",
        help="as in Gmail's own search field",
        example="from:shop@example.com has:attachment",
        max_length=1000,
    )
    attachments: bool = setting("Keep attachments", True, help="up to 20 of a mail, each up to 25 MB")
    every_minutes: int = setting("Look every … minutes", 5, ge=1, le=1440)
    first: int = setting(
        "At first, take the last", 0, help="0 begins with what arrives from now", ge=0, le=100
    )


@gmail.poll(
    "New mail",
    every=timedelta(minutes=5),
    samples=[
        {
            "id": "18c2f1a0b7d3e455",
            "thread_id": "18c2f1a0b7d3e455",
            "labels": ["INBOX", "UNREAD"],
            "snippet": "Please send two of the blue ones.",
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
            "attachments": [],
            "problem": "",
        }
    ],
)
def new_mail(
    ctx: Context, connection: Account, params: Search, cursor: Any, recent_keys: Sequence[str]
) -> Batch:
    """Starts a run for each new mail that the search finds; its files can be used in later steps."""
    users = _users(ctx, connection)
    now = int(ctx.now.timestamp())
    since = now if cursor is None else int(cursor)
    listed = google_mail.listed(users, params.query, since - google_mail.OVERLAP_S)
    if cursor is None:
        taken = _last(users, params)
        recent_keys = [key for key in listed if key not in taken]
    else:
        taken = [key for key in reversed(listed) if key not in set(recent_keys)][:_MAILS_A_LOOK]
    files = ctx.files if params.attachments else None
    found = [one for one in (google_mail.read(users, key, files) for key in taken) if one is not None]
    arrived = [at for at, _ in found] if cursor is not None else []
    occurrences = [Occurrence(data["id"], data) for _, data in found]
    return Batch(occurrences, max([since, *arrived]), google_mail.kept([*recent_keys, *taken], set(listed)))


def _last(users: Any, params: Search) -> list[str]:
    if not params.first:
        return []
    answer = users.messages().list(userId=_ME, q=params.query, maxResults=params.first).execute()
    return [one["id"] for one in answer.get("messages", [])][::-1]
