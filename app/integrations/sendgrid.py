"""SendGrid: mail by its API, contacts, and what became of the mails."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo, field_validator

from app.sdk import inbound, mail
from app.sdk import sendgrid as api
from app.sdk.attachments import FileList
from app.sdk.declare import Context, InboundRequest, Integration, Occurrence, Reply, Sample
from app.sdk.errors import AuthError, RefusedError
from app.sdk.fields import Settings, Text, setting

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


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, str) and given.strip() else given or []


def _optional_address(given: str) -> str:
    if given:
        mail.parse_address(given)
    return given


Addresses: TypeAlias = Annotated[list[mail.MailAddress], BeforeValidator(_listed)]


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
            api.verifier(given)
        return given.strip()


@sendgrid.check
def check(ctx: Context, connection: Account) -> str:
    """Asks what the key may do; sends nothing."""
    known = _api(ctx, connection).call(_SCOPES).to_dict
    scopes = known.get("scopes", []) if isinstance(known, dict) else []
    if _SEND.scope not in scopes:
        raise AuthError(
            "the api key may not send mail; give it the right mail.send under settings → api keys"
        )
    return f"the key may send mail{' and keep contacts' if _CONTACTS.scope in scopes else ''}"


class Recipients(Settings):
    """Who gets it."""

    to: Addresses = setting(
        "To", help="one address, or several with commas between", example=["ada@example.com"], widget="list"
    )
    cc: Addresses = setting("Cc", [], widget="list")
    bcc: Addresses = setting("Bcc", [], help="not shown to the others", widget="list")
    reply_to: Annotated[Text, AfterValidator(_optional_address)] = setting(
        "Answers go to", "", help="without it, to the sender"
    )

    @field_validator("to", "cc", "bcc")
    @classmethod
    def _are_some(cls, addresses: list[str], info: ValidationInfo) -> list[str]:
        if info.field_name == "to" and not addresses:
            raise ValueError("is needed")
        if len(addresses) > _MAX_RECIPIENTS:
            raise ValueError(f"has more than {_MAX_RECIPIENTS} addresses")
        return addresses


class Mail(Recipients):
    """A mail."""

    subject: mail.HeaderText = setting(
        "Subject", example="order {{ event.order }}", min_length=1, max_length=900
    )
    text: Text = setting("Text", "", example="the total is {{ event.total }}", widget="textarea")
    html: Text = setting("HTML", "", widget="textarea", validate_default=True)
    attachments: FileList = setting(
        "Attachments",
        [],
        help="files of earlier steps, 20 MB together",
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


_SENT = {"message_id": "14c5d75ce93.dfd.64b469", "accepted": ["ada@example.com"]}


@sendgrid.action(
    "Send a mail",
    idempotent=False,
    samples=[
        Sample({"to": ["ada@example.com"], "subject": "order A-1001", "text": "the total is 150"}, _SENT)
    ],
)
def send(ctx: Context, connection: Account, params: Mail) -> Mapping[str, Any]:
    """Sends one mail, with files if you like. What becomes of it is told by the trigger for events."""
    bodies = (("text/plain", params.text), ("text/html", params.html))
    content: dict[str, Any] = {"content": [{"type": kind, "value": text} for kind, text in bodies if text]}
    if params.attachments:
        content["attachments"] = api.attachments(ctx.files, params.attachments)
    return _send(ctx, connection, params, subject=params.subject, **content)


class Template(Recipients):
    """A mail that is written at SendGrid."""

    template_id: Text = setting(
        "Template ID",
        example="d-00000000000000000000000000000001",
        where="app.sendgrid.com → email API → dynamic templates",
    )
    data: dict[str, Any] = setting(
        "Data", {}, help="the names in the template, and what stands there", widget="pairs"
    )

    @field_validator("template_id")
    @classmethod
    def _is_dynamic(cls, given: str) -> str:
        if not given.strip().startswith("d-"):
            raise ValueError("must begin with d-; older templates cannot be used")
        return given.strip()


@sendgrid.action(
    "Send a template",
    idempotent=False,
    samples=[
        Sample(
            {
                "to": ["ada@example.com"],
                "template_id": "d-00000000000000000000000000000001",
                "data": {"order": "A-1001"},
            },
            _SENT,
        )
    ],
)
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


@sendgrid.action(
    "Add a contact",
    idempotent=True,
    samples=[Sample({"email": "ada@example.com", "first_name": "Ada"}, {"job_id": "8ad1d3b4-0001"})],
)
def add_contact(ctx: Context, connection: Account, params: Contact) -> Mapping[str, Any]:
    """Adds a person, or changes the one with this address. SendGrid does so within minutes."""
    contact: dict[str, Any] = {"email": mail.parse_address(params.email).addr_spec}
    given = params.model_dump(include={"first_name", "last_name", "custom_fields"})
    contact |= {name: value for name, value in given.items() if value}
    body: dict[str, Any] = {"contacts": [contact]}
    if params.lists:
        body["list_ids"] = params.lists
    known = _api(ctx, connection).call(_CONTACTS, body).to_dict
    return {"job_id": known.get("job_id", "") if isinstance(known, dict) else ""}


def _api(ctx: Context, connection: Account) -> api.Api:
    return api.Api(ctx, connection.api_key.get_secret_value().strip(), connection.region)


class Events(Settings):
    """Which events count."""

    events: list[Event] = setting("Only these events", [], help="without any, every one", example=["bounce"])


@sendgrid.hook(
    "Something became of a mail",
    samples=[
        {
            "event": "bounce",
            "email": "ada@example.com",
            "at": "2026-11-21T09:00:00Z",
            "message_id": "14c5d75ce93.dfd.64b469",
            "reason": "550 5.1.1 unknown user",
            "status": "5.1.1",
            "sg_event_id": "rWVYmVk90MjZJ9iohOBa3w==",
            "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
            "timestamp": 1795251600,
        }
    ],
)
def event(request: InboundRequest, connection: Account, params: Events) -> Iterable[Occurrence] | Reply:
    """Starts once for every event: delivered, opened, clicked, bounced and more.

    Put the rule's address into SendGrid under settings, mail settings, event webhooks, and switch on the signature.
    """
    if not connection.verification_key:
        raise RefusedError("the connection has no verification key, which proves that sendgrid calls; add it")
    api.verify(request, connection.verification_key)
    told = inbound.read_json(request)
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        raise RefusedError("the body is no list of events", status=400)
    wanted = [each for each in told if not params.events or each.get("event") in params.events]
    # A batch may hold nothing for this rule; refused, it would come again for a day.
    return [_occurrence(each) for each in wanted] or Reply("")


def _occurrence(told: dict[str, Any]) -> Occurrence:
    at, key = told.get("timestamp"), told.get("sg_event_id")
    more: dict[str, Any] = {"message_id": str(told.get("sg_message_id", "")).partition(".filter")[0]}
    if isinstance(at, int) and 0 <= at < 10**11:
        more["at"] = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
    return Occurrence(key if isinstance(key, str) and key else None, told | more)
