"""SMTP: send mail through any mail server."""

import re
from collections.abc import Mapping
from email.headerregistry import Address
from typing import Any, Final

from pydantic import SecretStr, ValidationInfo, field_validator

from app.sdk import mail
from app.sdk.attachments import FileList
from app.sdk.channels import Security
from app.sdk.context import FileRef
from app.sdk.declare import Context, Integration, Sample
from app.sdk.fields import Settings, Text, setting
from app.sdk.smtp import Server, session

smtp = Integration(module=__name__, title="Mail (SMTP)", about="send mail through your own mail account")

_CHECK_DEADLINE_S: Final = 15.0
_SEND_DEADLINE_S: Final = 60.0
_MAX_RECIPIENTS: Final = 100
_CONTENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@smtp.connection
class Account(Settings):
    """A mail account. Your mail provider lists these under SMTP or outgoing mail."""

    host: Text = setting(
        "Mail server", example="mail.example.com", where="under outgoing mail (SMTP)", min_length=1
    )
    port: int = setting("Port", 587, help="587 with STARTTLS, 465 with TLS", example=587, ge=1, le=65535)
    security: Security = setting(
        "Encryption",
        "starttls",
        help="with starttls it begins plain and then encrypts; with tls it encrypts from the first byte; with none "
        "mail and password are readable for everyone on the way",
        example="starttls",
    )
    username: Text = setting(
        "User name", "", help="empty for a server without log-in", example="orders@example.com"
    )
    password: SecretStr = setting(
        "Password",
        SecretStr(""),
        example="correct horse battery",
        where="often an app password, made under security in your mail account",
        validate_default=True,
    )
    sender: mail.MailAddress = setting(
        "From", help="the address mails come from", example="Example Shop <orders@example.com>"
    )
    accept_self_signed: bool = setting(
        "Accept a self-signed certificate",
        False,
        help="only for your own server: whoever stands in between can then read the password",
    )

    @field_validator("password")
    @classmethod
    def _fits_the_user(cls, password: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.data.get("username") and not password.get_secret_value():
            raise ValueError("is needed with a user name")
        return password


def _server(connection: Account) -> Server:
    return Server(
        host=connection.host.strip(),
        port=connection.port,
        security=connection.security,
        username=connection.username,
        password=connection.password.get_secret_value(),
        accept_self_signed=connection.accept_self_signed,
        greets_as=mail.parse_address(connection.sender).domain,
    )


@smtp.check
def check(ctx: Context, connection: Account) -> str:
    """Connects, encrypts and signs in; sends nothing."""
    with session(ctx.guard, _server(connection), deadline_s=_CHECK_DEADLINE_S) as client:
        client.noop()
    if not connection.username:
        return f"connected to {connection.host} without log-in"
    return f"signed in to {connection.host} as {connection.username}"


class Mail(Settings):
    """A mail."""

    to: list[mail.MailAddress] = setting(
        "To", help="one address, or several with commas between", example=["ada@example.com"], widget="list"
    )
    cc: list[mail.MailAddress] = setting("Cc", [], widget="list")
    bcc: list[mail.MailAddress] = setting("Bcc", [], help="not shown to the others", widget="list")
    reply_to: Text = setting("Answers go to", "", help="without it, to the sender")
    subject: mail.HeaderText = setting("Subject", example="order {{ event.order }}", max_length=900)
    text: Text = setting("Text", "", example="the total is {{ event.total }}", widget="textarea")
    html: Text = setting(
        "HTML",
        "",
        help="for programs that show it; the others show the text",
        widget="textarea",
        validate_default=True,
    )

    attachments: FileList = setting(
        "Attachments",
        [],
        help="files of earlier steps, 25 MB together",
        example="{{ steps.download.file }}",
        widget="list",
        max_length=50,
    )
    images: dict[str, FileRef] = setting(
        "Images in the HTML",
        {},
        help='a name and a file; the HTML shows the one named logo with <img src="cid:logo">',
        widget="pairs",
        max_length=20,
    )

    @field_validator("to", "cc", "bcc", mode="before")
    @classmethod
    def _is_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) and given.strip() else given or []

    @field_validator("to", "cc", "bcc")
    @classmethod
    def _is_bearable(cls, addresses: list[str], info: ValidationInfo) -> list[str]:
        if info.field_name == "to" and not addresses:
            raise ValueError("is needed")
        if len(addresses) > _MAX_RECIPIENTS:
            raise ValueError(f"has more than {_MAX_RECIPIENTS} addresses")
        return addresses

    @field_validator("reply_to")
    @classmethod
    def _is_address(cls, given: str) -> str:
        if given:
            mail.parse_address(given)
        return given

    @field_validator("images")
    @classmethod
    def _fits_the_html(cls, images: dict[str, FileRef], info: ValidationInfo) -> dict[str, FileRef]:
        if images and not info.data.get("html"):
            raise ValueError("needs html that shows them")
        if wrong := [name for name in images if not _CONTENT_ID.fullmatch(name)]:
            raise ValueError(f"takes letters, digits, dots and dashes in a name, unlike {wrong[0][:40]}")
        return images

    @field_validator("html")
    @classmethod
    def _says_something(cls, html: str, info: ValidationInfo) -> str:
        if not html and info.data.get("text") == "":
            raise ValueError("write a text, html, or both")
        return html


@smtp.action(
    "Send a mail",
    idempotent=False,
    samples=[
        Sample(
            {
                "to": ["ada@example.com"],
                "subject": "order A-1001",
                "text": "the total is 150",
                "html": "<p>the total is <b>150</b></p>",
            },
            {"accepted": ["ada@example.com"], "refused": {}, "message_id": "<5d41402abc4b2a76@example.com>"},
        )
    ],
)
def send(ctx: Context, connection: Account, params: Mail) -> Mapping[str, Any]:
    """Sends one mail, with files if you like, to all the addresses; tells which of them the server took."""
    sender = mail.parse_address(connection.sender)
    to, cc, bcc = (
        [mail.parse_address(text) for text in group] for group in (params.to, params.cc, params.bcc)
    )
    headers: dict[str, str | Address | list[Address]] = {
        "From": sender,
        "To": to,
        "Cc": cc,
        "Reply-To": mail.parse_address(params.reply_to) if params.reply_to else "",
        "Subject": params.subject,
        "Message-ID": mail.message_id(ctx.idempotency_key, sender),
    }
    attachments = mail.attached(ctx.files, params.attachments, params.images)
    composed = mail.compose(headers, params.text, params.html, at=ctx.now)
    message = mail.outgoing(composed, attachments, ctx.files)
    recipients = list(dict.fromkeys(address.addr_spec for address in (*to, *cc, *bcc)))
    with session(ctx.guard, _server(connection), deadline_s=_SEND_DEADLINE_S) as client:
        refused = client.send_mail(sender.addr_spec, message, recipients)
        sentences = {name: f"{code} {client.sentence(said)}" for name, (code, said) in refused.items()}
    return {
        "accepted": [name for name in recipients if name not in refused],
        "refused": sentences,
        "message_id": headers["Message-ID"],
    }
