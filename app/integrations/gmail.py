"""Gmail: send, answer and label mails, and start rules with those that a search finds."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from app.sdk import google_mail, mail, mail_fields, received
from app.sdk.declare import Batch, Context, Integration, Occurrence
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.google import GoogleAccount, OAuth, google_errors, rest, sign_in
from app.sdk.google_mail import ME
from app.sdk.notices import Notice
from app.sdk.polling import EVERY_MINUTES, first_setting

gmail = Integration(module=__name__, title="Gmail", about="send, answer and label mails of a Google account")

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
    return f"connected to {_address(_users(ctx, connection))}"


def _address(users: Any) -> str:
    return str(users.getProfile(userId=ME).execute()["emailAddress"])


class Mail(mail_fields.Mail):
    """A mail."""

    reply_to: list[mail.MailAddress] = setting(
        "Answers go to", [], help="without it, to the account", max_length=1
    )


@gmail.action("Send a mail", idempotent=False)
def send(ctx: Context, connection: Account, params: Mail) -> Mapping[str, Any]:
    """Sends one mail from the account, with files if you like."""
    named = {"To": params.to, "Cc": params.cc, "Bcc": params.bcc, "Reply-To": params.reply_to}
    headers: dict[str, Any] = {
        name: [mail.parse_address(one) for one in some] for name, some in named.items()
    }
    return google_mail.send(ctx, _users(ctx, connection), headers | {"Subject": params.subject}, params)


@send.confirm
def _was_sent(ctx: Context, connection: Account, params: Mail, since: datetime) -> Mapping[str, Any] | None:
    return google_mail.sent_before(ctx, _users(ctx, connection), since)


class Reply(mail_fields.Written):
    """An answer to a mail."""

    message: Text = setting(
        "Mail", help="the id that Gmail gave it", example="{{ event.id }}", min_length=1, max_length=100
    )
    to_all: bool = setting("Answer everybody", False, help="all who got the mail, not only who sent it")


@gmail.action("Answer a mail", idempotent=False)
def reply(ctx: Context, connection: Account, params: Reply) -> Mapping[str, Any]:
    """Answers a mail in its conversation, under its subject."""
    users = _users(ctx, connection)
    with google_errors(f"the mail {params.message}"):
        found = users.messages().get(userId=ME, id=params.message, format="raw").execute()
    own = _address(users) if params.to_all else None
    headers = google_mail.answer_headers(received.read(google_mail.decoded(found["raw"]), None), own)
    if not headers["To"]:
        raise RejectedError(f"the mail {params.message} names nobody to answer; send a new mail instead")
    return google_mail.send(ctx, users, headers, params, thread=found["threadId"])


@reply.confirm
def _was_answered(
    ctx: Context, connection: Account, params: Reply, since: datetime
) -> Mapping[str, Any] | None:
    return google_mail.sent_before(ctx, _users(ctx, connection), since)


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


@gmail.action("Label a mail", idempotent=True)
def label(ctx: Context, connection: Account, params: Labels) -> Mapping[str, Any]:
    """Puts labels on a mail and takes others off: marks it as read, stars it, archives it."""
    users = _users(ctx, connection)
    known = google_mail.labels(users, params.add if params.make else [])
    body = {
        "addLabelIds": google_mail.label_ids(params.add, known),
        "removeLabelIds": google_mail.label_ids(params.remove, known),
    }
    with google_errors(f"the mail {params.message}"):
        changed = users.messages().modify(userId=ME, id=params.message, body=body).execute()
    return {"id": changed["id"], "thread_id": changed["threadId"], "labels": changed.get("labelIds", [])}


class Search(Settings):
    """Which mails, and how often to look."""

    query: Text = setting(
        "Search",
        "in:inbox",
        help="as in Gmail's own search field",
        example="from:shop@example.com has:attachment",
        max_length=1000,
        place=True,
    )
    attachments: bool = setting("Keep attachments", True, help="up to 20 of a mail, each up to 25 MB")
    every_minutes: int = EVERY_MINUTES
    first: int = first_setting("0 begins with what arrives from now")


@gmail.poll("New mail", every=timedelta(minutes=5))
def new_mail(
    ctx: Context, connection: Account, params: Search, cursor: Any, recent_keys: Sequence[str]
) -> Batch:
    """Starts a run for each new mail that the search finds; its files can be used in later steps."""
    users = _users(ctx, connection)
    now = int(ctx.now.timestamp())
    since = now if cursor is None else int(cursor)
    listed = google_mail.listed(users, params.query, since - google_mail.OVERLAP_S)
    if cursor is None:
        taken = google_mail.last(users, params.query, params.first)
        recent_keys = [key for key in listed if key not in taken]
    else:
        taken = [key for key in reversed(listed) if key not in set(recent_keys)][:_MAILS_A_LOOK]
    files = ctx.files if params.attachments else None
    found = [one for one in (google_mail.read(users, key, files) for key in taken) if one is not None]
    arrived = [at for at, _ in found] if cursor is not None else []
    occurrences = [Occurrence(data["id"], data) for _, data in found]
    return Batch(occurrences, max([since, *arrived]), google_mail.kept([*recent_keys, *taken], set(listed)))


@gmail.notice("mail", by="send")
def notice(told: Notice) -> dict[str, Any]:
    return {"to": [told.to], "subject": told.title, "text": told.text}
