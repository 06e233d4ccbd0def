"""Webhook: any program starts a rule by calling its address."""

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import SecretStr, ValidationInfo, field_validator

from app.sdk import calls, inbound
from app.sdk.declare import Context, InboundRequest, Integration, Occurrence
from app.sdk.errors import RefusedError
from app.sdk.fields import Settings, Text, setting

webhook = Integration(
    module=__name__,
    title="Webhook",
    about="start a rule by calling an address, from a shop, a form or any program",
    need="optional",
    rank=1,
)

MIN_SECRET_CHARS: Final = 8
_WRITING: Final = frozenset({"POST", "PUT", "PATCH"})


@webhook.connection
class SigningSecret(Settings):
    """A secret that the sender knows too. Calls without a right signature are refused."""

    scheme: Literal["standard-webhooks", "hmac", "token"] = setting(
        "How the sender proves itself",
        "standard-webhooks",
        choices={
            "standard-webhooks": "it signs id, time and body (Standard Webhooks)",
            "hmac": "a header with a signature of the body, as GitHub and Shopify send it",
            "token": "a header that repeats the secret",
        },
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


@webhook.hook("Call received")
def received(
    request: InboundRequest, connection: SigningSecret | None, params: Catch
) -> Iterator[Occurrence]:
    """Starts when the rule's own address is called with JSON, a form or text.

    The fields of a JSON object or form stand directly in the event; `_request` tells how it was called.
    """
    _require_method(request, connection, params)
    if connection:
        _verify(request, connection)
    data = calls.data(request)
    about = calls.about(request, without=connection.header if connection else "")
    yield Occurrence(calls.key(request, data, params.key_field), data | {"_request": about})


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
