"""WhatsApp: messages through Twilio."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import field_validator

from app.sdk import phones, twilio, twilio_hooks
from app.sdk.declare import Context, InboundRequest, Integration, NoSettings, Occurrence, Reply
from app.sdk.fields import Settings, Text, setting
from app.sdk.shapes import shaped

whatsapp = Integration(module=__name__, title="WhatsApp (Twilio)", about="send and receive WhatsApp messages")

ContentSid: TypeAlias = Annotated[
    Text,
    shaped(
        "HX[0-9a-fA-F]{32}", "must be HX and 32 letters and digits; copy it from the content template builder"
    ),
]


@whatsapp.connection
class Account(twilio.TwilioAccount):
    """A Twilio account with a WhatsApp sender. To try it, join the sandbox in the Twilio console."""

    sender: Text = setting(
        "From",
        help="your WhatsApp number, without whatsapp: before it, or a messaging service (MG…)",
        example="+493012345678",
        where="console.twilio.com → messaging → senders → WhatsApp senders",
    )

    @field_validator("sender")
    @classmethod
    def _is_sender(cls, typed: str) -> str:
        text = typed.strip()
        return text if re.fullmatch(r"MG[0-9a-fA-F]{32}", text) else phones.normal(text)


@whatsapp.check
def check(ctx: Context, connection: Account) -> str:
    """Asks for the account's own name; sends nothing."""
    return twilio.check(ctx, connection)


class Recipient(Settings):
    """Who gets it."""

    to: phones.Phone = setting("To", help="with + and the country code", example="{{ event.from }}")
    status_url: twilio.CallbackUrl = twilio.STATUS_URL


class Message(Recipient):
    """A message in words."""

    text: Text = setting(
        "Text", example="we found {{ event.order }}", widget="textarea", min_length=1, max_length=1600
    )


@whatsapp.action("Send a message", idempotent=False)
def send(ctx: Context, connection: Account, params: Message) -> Mapping[str, Any]:
    """Answers somebody who wrote within the last 24 hours; to others WhatsApp takes only templates."""
    return _send(ctx, connection, params, body=params.text)


class Template(Recipient):
    """A message that WhatsApp has approved."""

    content_sid: ContentSid = setting(
        "Content SID",
        example="HX00000000000000000000000000000001",
        where="console.twilio.com → messaging → content template builder",
    )
    variables: dict[str, Text] = setting(
        "Variables",
        {},
        help="the number or name in the template's {{…}}, and what stands there",
        widget="pairs",
    )


@whatsapp.action("Send a template", idempotent=False)
def template(ctx: Context, connection: Account, params: Template) -> Mapping[str, Any]:
    """Sends an approved template: the only way to begin a conversation."""
    variables = json.dumps(params.variables) if params.variables else ""
    return _send(ctx, connection, params, content_sid=params.content_sid, content_variables=variables)


class Media(Recipient):
    """A picture, document, sound or video."""

    url: twilio.PublicUrl = setting(
        "Address of the file",
        help="public, up to 16 MB: twilio fetches it there itself, so that a stored file cannot be named",
        example="https://shop.example/invoices/A-1001.pdf",
    )
    text: Text = setting("Text", "", help="stands under a picture or video", max_length=1600)


@whatsapp.action("Send a file", idempotent=False)
def media(ctx: Context, connection: Account, params: Media) -> Mapping[str, Any]:
    """Sends a picture, document, sound or video from a public address, within 24 hours of their last message."""
    return _send(ctx, connection, params, media_url=[params.url], body=params.text)


def _send(ctx: Context, connection: Account, params: Recipient, **content: Any) -> Mapping[str, Any]:
    sender = connection.sender if connection.sender.startswith("MG") else f"whatsapp:{connection.sender}"
    to = f"whatsapp:{params.to}"
    return twilio.send(ctx, connection, sender=sender, to=to, status_callback=params.status_url, **content)


@whatsapp.hook("Message received", answer=twilio_hooks.NOTHING_TO_SAY)
def received(
    request: InboundRequest, connection: Account, params: NoSettings
) -> Iterable[Occurrence] | Reply:
    """Starts when somebody writes to your WhatsApp number.

    Put the rule's address into the Twilio console, at your WhatsApp sender or the sandbox: when a message comes in.
    """
    return twilio_hooks.incoming(request, connection, "whatsapp")


@whatsapp.hook("Message status changed")
def status(
    request: InboundRequest, connection: Account, params: twilio_hooks.StatusFilter
) -> Iterable[Occurrence] | Reply:
    """Starts when a message that you sent was delivered, read, or could not be delivered.

    Put the rule's address into the Twilio console as status callback, or where the message is sent.
    """
    return twilio_hooks.status(request, connection, "whatsapp", params)
