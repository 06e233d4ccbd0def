"""Webhook: any program starts a rule by calling its address."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import SecretStr, ValidationInfo, field_validator

from app.sdk import inbound, jsonvalues, paths, values
from app.sdk.declare import Context, InboundRequest, Integration, Occurrence
from app.sdk.errors import RefusedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.urls import looks_secret

webhook = Integration(
    module=__name__,
    title="Webhook",
    about="start a rule by calling an address, from a shop, a form or any program",
    need="optional",
)

MIN_SECRET_CHARS: Final = 8
MAX_KEY_CHARS: Final = 200
_MAX_HEADER_CHARS: Final = 500
_WRITING: Final = frozenset({"POST", "PUT", "PATCH"})
# What proxies and HTTP itself add says nothing about what happened.
_NOISE: Final = (
    "x-forwarded-",
    "x-real-ip",
    "cf-",
    "accept-encoding",
    "connection",
    "host",
    "content-length",
    "via",
)
# The names under which senders say which delivery this is.
_DELIVERY_HEADERS: Final = ("webhook-id", "idempotency-key", "x-github-delivery")


@webhook.connection
class SigningSecret(Settings):
    """A secret that the sender knows too. Calls without a right signature are refused."""

    scheme: Literal["standard-webhooks", "hmac", "token"] = setting(
        "How the sender proves itself",
        "standard-webhooks",
        help="with standard-webhooks it signs id, time and body; with hmac it sends a header with a signature of "
        "the body, as GitHub and Shopify do; with token it sends a header that repeats the secret",
        example="standard-webhooks",
    )
    secret: SecretStr = setting(
        "Secret",
        help="at least 8 characters; for standard-webhooks it usually begins with whsec_",
        example="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        where="in the sender's webhook settings",
    )
    header: Text = setting(
        "Header", "", help="only for hmac and token", example="X-Hub-Signature-256", validate_default=True
    )
    algorithm: inbound.Algorithm = setting("Algorithm", "sha256", help="only for hmac")
    encoding: inbound.Encoding = setting("Encoding", "hex", help="only for hmac")
    prefix: Text = setting(
        "Prefix", "", help="what stands before the signature, only for hmac", example="sha256="
    )

    @field_validator("secret")
    @classmethod
    def _is_strong(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        if len(secret.get_secret_value().strip()) < MIN_SECRET_CHARS:
            raise ValueError(f"must have at least {MIN_SECRET_CHARS} characters")
        if info.data.get("scheme") == "standard-webhooks":
            _require_base64(secret.get_secret_value())
        return secret

    @field_validator("header")
    @classmethod
    def _is_named(cls, header: str, info: ValidationInfo) -> str:
        if not header.strip() and info.data.get("scheme") != "standard-webhooks":
            raise ValueError("is needed; for example X-Hub-Signature-256")
        return header.strip().lower()


def _require_base64(secret: str) -> None:
    try:
        inbound.standard_signer(secret)
    except ValueError:
        raise ValueError("must be base64 after whsec_; copy it whole from the sender") from None


@webhook.check
def check(ctx: Context, connection: SigningSecret) -> str:
    """Says what the secret is for: only a signed call can prove it."""
    return "kept; the first signed call proves it"


class Catch(Settings):
    """How calls are read."""

    key_field: Text = setting(
        "Field that names the event",
        "",
        help="calls with the same value count as one event; without it, the sender's delivery id is used, if any",
        example="order.id",
    )
    allow_get: bool = setting("Accept GET calls", False, help="the values behind the ? become the event")


_HEADERS = {"user-agent": "shop/2.1"}


@webhook.hook(
    "Call received",
    samples=[
        {
            "order": "A-1001",
            "total": 150,
            "customer": {"name": "Ada Example", "email": "ada@example.com"},
            "items": [{"name": "lamp", "quantity": 2}],
            "_request": {
                "method": "POST",
                "content_type": "application/json",
                "query": {"source": "shop"},
                "headers": _HEADERS,
            },
        },
        {
            "text": "backup finished",
            "_request": {"method": "POST", "content_type": "text/plain", "query": {}, "headers": _HEADERS},
        },
    ],
)
def received(
    request: InboundRequest, connection: SigningSecret | None, params: Catch
) -> Iterator[Occurrence]:
    """Starts when the rule's own address is called with JSON, a form or text.

    The fields of a JSON object or form stand directly in the event; `_request` tells how it was called.
    """
    _require_method(request, connection, params)
    if connection:
        _verify(request, connection)
    data = _data(request)
    yield Occurrence(_key(request, data, params.key_field), data | {"_request": _about(request, connection)})


def _require_method(request: InboundRequest, connection: SigningSecret | None, params: Catch) -> None:
    if request.method in _WRITING:
        return
    if request.method != "GET" or not params.allow_get:
        raise RefusedError(f"this address is called with POST, not {request.method[:10]}", status=405)
    # Signatures cover the body; the query of a GET call could be anybody's.
    if connection and connection.scheme != "token":
        raise RefusedError("a GET call cannot be signed; use POST", status=401)


def _verify(request: InboundRequest, connection: SigningSecret) -> None:
    secret = connection.secret.get_secret_value()
    if connection.scheme == "standard-webhooks":
        return inbound.verify_standard(request, secret)
    if connection.scheme == "token":
        return inbound.verify_token(request, secret, header=connection.header)
    return inbound.verify_hmac(
        request,
        secret,
        header=connection.header,
        algorithm=connection.algorithm,
        encoding=connection.encoding,
        prefix=connection.prefix,
    )


def _data(request: InboundRequest) -> dict[str, Any]:
    if request.method == "GET":
        return dict(request.query)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError("compressed bodies are not read; send it as it is", status=415)
    kind = inbound.media_type(request)
    if kind.endswith(("/json", "+json")):
        return _named(inbound.read_json(request))
    if kind == "application/x-www-form-urlencoded":
        return inbound.read_form(request)
    if kind.startswith("multipart/"):
        raise RefusedError("multipart bodies are not read; send JSON or a plain form", status=415)
    return _unlabelled(request) if not kind else {"text": inbound.read_text(request)}


def _unlabelled(request: InboundRequest) -> dict[str, Any]:
    text = inbound.read_text(request)
    if not text.strip():
        return {}
    try:
        return _named(jsonvalues.loads(request.body))
    except jsonvalues.BadJsonError:
        return {"text": text}


def _named(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"body": value}


def _key(request: InboundRequest, data: Mapping[str, Any], field: str) -> str | None:
    """The same for every delivery of the same event, where the caller says so."""
    given = [_at(data, field), *map(request.headers.get, _DELIVERY_HEADERS), _cloud_event(request, data)]
    key = next((name for name in given if name), None)
    if key is None or len(key) <= MAX_KEY_CHARS:
        return key
    return "sha256:" + hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def _at(data: Mapping[str, Any], field: str) -> str:
    for path in filter(None, [field, field.removeprefix("event.")]):
        try:
            return values.text(paths.lookup(data, path))
        except (paths.PathError, paths.MissingPath):
            continue
    return ""


def _cloud_event(request: InboundRequest, data: Mapping[str, Any]) -> str | None:
    """CloudEvents: source and id together name an event, in headers (`ce-…`) or in the body."""
    name, source = request.headers.get("ce-id"), request.headers.get("ce-source", "")
    if not name and inbound.media_type(request) == "application/cloudevents+json":
        name, source = _at(data, "id"), _at(data, "source")
    return f"{source} {name}" if name else None


def _about(request: InboundRequest, connection: SigningSecret | None) -> dict[str, Any]:
    dropped = {"content-type", connection.header if connection else ""}
    headers = {
        name: value[:_MAX_HEADER_CHARS]
        for name, value in request.headers.items()
        if name not in dropped and not name.startswith(_NOISE) and not looks_secret(name)
    }
    return {
        "method": request.method,
        "content_type": inbound.media_type(request),
        "query": dict(request.query),
        "headers": headers,
    }
