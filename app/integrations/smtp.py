"""SMTP: send mail through any mail server."""

import re
from collections.abc import Mapping
from email.headerregistry import Address
from typing import Any, Final

from pydantic import SecretStr, ValidationInfo, field_validator

from app.sdk import mail, mail_fields
from app.sdk.channels import Security, Server
from app.sdk.context import FileRef
from app.sdk.declare import Context, Integration
from app.sdk.fields import Settings, Text, setting
from app.sdk.notices import Notice
from app.sdk.smtp import session

smtp = Integration(module=__name__, title="Mail (SMTP)", about="send mail through your own mail account")

_CHECK_DEADLINE_S: Final = 15.0
_SEND_DEADLINE_S: Final = 60.0
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
        help="with STARTTLS it begins plain and then encrypts; with TLS it encrypts from the first byte",
        choices={"none": "none: mail and password can be read on the way"},
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


class Mail(mail_fields.Mail):
    """A mail."""

    images: dict[str, FileRef] = setting(
        "Images in the HTML",
        {},
        help='a name and a file; the HTML shows the one named logo with <img src="cid:logo">',
        widget="pairs",
        max_length=20,
    )

    @field_validator("images")
    @classmethod
    def _fits_the_html(cls, images: dict[str, FileRef], info: ValidationInfo) -> dict[str, FileRef]:
        if images and not info.data.get("html"):
            raise ValueError("needs html that shows them")
        if wrong := [name for name in images if not _CONTENT_ID.fullmatch(name)]:
            raise ValueError(f"takes letters, digits, dots and dashes in a name, unlike {wrong[0][:40]}")
        return images


@smtp.action("Send a mail", idempotent=False)
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


@smtp.notice("mail", by="send")
def notice(told: Notice) -> dict[str, Any]:
    return {"to": [told.to], "subject": told.title, "text": told.text}
