"""SendGrid: mail by its API, contacts, and what became of the mails."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import SecretStr, field_validator

from app.sdk import mail, sendgrid_events
from app.sdk import sendgrid as api
from app.sdk.attachments import FileList
from app.sdk.declare import Context, InboundRequest, Integration, Occurrence, Reply
from app.sdk.errors import AuthError
from app.sdk.fields import Settings, Text, setting
from app.sdk.mail_fields import Headed, Recipients, Written, files_setting
from app.sdk.notices import Notice
from app.sdk.shapes import shaped

sendgrid = Integration(
    module=__name__, title="SendGrid", about="send mail, keep contacts, and follow what became of a mail"
)

_SEND: Final = api.Call(("mail", "send"), "mail.send")
_SCOPES: Final = api.Call(("scopes",), "user.scopes.read", "get")
_CONTACTS: Final = api.Call(("marketing", "contacts"), "marketing.read", "put")
# https://www.twilio.com/docs/sendgrid/api-reference/mail-send/limitations
_MAX_RECIPIENTS: Final = 1000

Event: TypeAlias = Literal[
    "processed", "deferred", "delivered", "open", "click", "bounce", "dropped", "spamreport", "unsubscribe",
    "group_unsubscribe", "group_resubscribe",
]  # fmt: skip

TemplateId: TypeAlias = Annotated[
    Text, shaped("(?s)d-.*", "must begin with d-; older templates cannot be used")
]


@sendgrid.connection
class Account(Settings):
    """A SendGrid account and an API key. Make the key under settings, API keys, with the right mail send."""

    api_key: SecretStr = setting(
        "API key", example="SG.0000000000000000000000.0000000", where="app.sendgrid.com → settings → API keys"
    )
    sender: mail.MailAddress = setting(
        "From",
        help="an address that is verified at sendgrid",
        example="Example Shop <orders@example.com>",
        where="app.sendgrid.com → settings → sender authentication",
    )
    region: api.Region = setting("Region", "global", help="eu for a subuser of the european union")
    verification_key: Text = setting(
        "Verification key",
        "",
        help="only for the trigger: sendgrid signs its events, and this proves it",
        example="MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+evkZBR8wQLZIyTQmdknwaUOQtV6CKEW/+wKKYGdjGVwuvfRKIiQKmoMHWet0QMS"
        "PIWatpv46UMck4STDUt+7g==",
        where="app.sendgrid.com → settings → mail settings → event webhooks → security features",
    )

    @field_validator("verification_key")
    @classmethod
    def _is_key(cls, given: str) -> str:
        if given.strip():
            sendgrid_events.verifier(given)
        return given.strip()


@sendgrid.check
def check(ctx: Context, connection: Account) -> str:
    """Asks what the key may do; sends nothing."""
    scopes = _api(ctx, connection).read(_SCOPES).get("scopes", [])
    if _SEND.scope not in scopes:
        raise AuthError(
            "the api key may not send mail; give it the right mail.send under settings → api keys"
        )
    return f"the key may send mail{' and keep contacts' if _CONTACTS.scope in scopes else ''}"


class Mail(Written, Headed):
    """A mail."""

    most: ClassVar[int] = _MAX_RECIPIENTS

    subject: mail.HeaderText = setting(
        "Subject", example="order {{ event.order }}", min_length=1, max_length=900
    )
    attachments: FileList = files_setting("20 MB")


@sendgrid.action("Send a mail", idempotent=False)
def send(ctx: Context, connection: Account, params: Mail) -> Mapping[str, Any]:
    """Sends one mail, with files if you like. What becomes of it is told by the trigger for events."""
    bodies = (("text/plain", params.text), ("text/html", params.html))
    content: dict[str, Any] = {"content": [{"type": kind, "value": text} for kind, text in bodies if text]}
    if params.attachments:
        content["attachments"] = api.attachments(ctx.files, params.attachments)
    return _send(ctx, connection, params, subject=params.subject, **content)


class Template(Recipients):
    """A mail that is written at SendGrid."""

    most: ClassVar[int] = _MAX_RECIPIENTS

    template_id: TemplateId = setting(
        "Template ID",
        example="d-00000000000000000000000000000001",
        where="app.sendgrid.com → email API → dynamic templates",
    )
    data: dict[str, Any] = setting(
        "Data", {}, help="the names in the template, and what stands there", widget="pairs"
    )


@sendgrid.action("Send a template", idempotent=False)
def template(ctx: Context, connection: Account, params: Template) -> Mapping[str, Any]:
    """Sends a dynamic template, filled with your data."""
    return _send(ctx, connection, params, template_id=params.template_id, data=params.data)


def _send(ctx: Context, connection: Account, params: Recipients, **content: Any) -> Mapping[str, Any]:
    envelope: dict[str, Any] = dict(api.envelope(to=params.to, cc=params.cc, bcc=params.bcc))
    accepted = [each["email"] for group in envelope.values() for each in group]
    if data := content.pop("data", None):
        envelope["dynamic_template_data"] = data
    body = {"personalizations": [envelope], "from": api.person(connection.sender), **content}
    if params.reply_to:
        body["reply_to"] = api.person(params.reply_to)
    response = _api(ctx, connection).call(_SEND, body)
    return {"message_id": response.headers.get("x-message-id", ""), "accepted": accepted}


class Contact(Settings):
    """A person on your lists."""

    email: mail.MailAddress = setting("Address", example="ada@example.com")
    first_name: Text = setting("First name", "", max_length=50)
    last_name: Text = setting("Last name", "", max_length=50)
    lists: list[Text] = setting(
        "Lists", [], help="their ids", where="app.sendgrid.com → marketing → contacts → the list's address"
    )
    custom_fields: dict[str, Text] = setting(
        "More fields", {}, help="the id of a custom field, such as e1_T, and its value", widget="pairs"
    )


@sendgrid.action("Add a contact", idempotent=True)
def add_contact(ctx: Context, connection: Account, params: Contact) -> Mapping[str, Any]:
    """Adds a person, or changes the one with this address. SendGrid does so within minutes."""
    contact: dict[str, Any] = {"email": mail.parse_address(params.email).addr_spec}
    given = params.model_dump(include={"first_name", "last_name", "custom_fields"})
    contact |= {name: value for name, value in given.items() if value}
    body: dict[str, Any] = {"contacts": [contact]}
    if params.lists:
        body["list_ids"] = params.lists
    return {"job_id": _api(ctx, connection).read(_CONTACTS, body).get("job_id", "")}


def _api(ctx: Context, connection: Account) -> api.Api:
    return api.Api(ctx, connection.api_key.get_secret_value().strip(), connection.region)


class Events(Settings):
    """Which events count."""

    events: list[Event] = setting("Only these events", [], help="without any, every one", example=["bounce"])


@sendgrid.hook("Something became of a mail")
def event(request: InboundRequest, connection: Account, params: Events) -> Iterable[Occurrence] | Reply:
    """Starts once for every event: delivered, opened, clicked, bounced and more.

    Put the rule's address into SendGrid under settings, mail settings, event webhooks, and switch on the signature.
    """
    return sendgrid_events.told(request, connection.verification_key, params.events)


@sendgrid.notice("mail", by="send")
def notice(told: Notice) -> dict[str, Any]:
    return {"to": [told.to], "subject": told.title, "text": told.text}
