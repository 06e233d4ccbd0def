"""What hooks share: proving who called, and reading the body; a failure is a RefusedError."""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NoReturn, TypeAlias
from urllib.parse import parse_qsl

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from app.sdk import jsonvalues
from app.sdk.declare import InboundRequest
from app.sdk.errors import RefusedError

Algorithm: TypeAlias = Literal["sha256", "sha1", "sha512"]
Encoding: TypeAlias = Literal["hex", "base64"]

TOLERANCE: Final = timedelta(seconds=300)
MAX_FORM_FIELDS: Final = 1_000

_HASHES: Final[dict[str, Callable[..., Any]]] = {
    "sha256": hashlib.sha256,
    "sha1": hashlib.sha1,
    "sha512": hashlib.sha512,
}


def verify_standard(request: InboundRequest, secret: str) -> None:
    """Standard Webhooks: the signature covers id, time and body, and is 300 seconds old at most.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    # The library's own `verify` reads the system's clock and fails on signatures it cannot split.
    signer = standard_signer(secret)
    sent_at = _instant(request.headers.get("webhook-timestamp", ""))
    message_id = request.headers.get("webhook-id", "")
    if not message_id or abs(request.received_at - sent_at) > TOLERANCE:
        _refuse()
    expected = signer.sign(message_id, sent_at, _decode(request.body))
    given = request.headers.get("webhook-signature", "").split(" ")
    if not any(_equal(entry, expected) for entry in given):
        _refuse()


def standard_signer(secret: str) -> Webhook:
    """Raises ValueError for a secret that is empty or not base64 (after `whsec_`)."""
    try:
        return Webhook(secret)
    except EmptyWebhookSecretError:
        raise ValueError("is empty") from None


def verify_hmac(
    request: InboundRequest,
    secret: str,
    *,
    header: str,
    algorithm: Algorithm = "sha256",
    encoding: Encoding = "hex",
    prefix: str = "",
) -> None:
    """An HMAC of the body as it arrived, in `header` (`sha256=…` where `prefix` says so)."""
    digest = hmac.new(secret.encode(), request.body, _HASHES[algorithm])
    expected = digest.hexdigest() if encoding == "hex" else b64encode(digest.digest()).decode()
    given = request.headers.get(header.lower(), "").strip()
    if encoding == "hex":
        given, prefix = given.lower(), prefix.lower()
    if not _equal(given, prefix + expected):
        _refuse()


def verify_token(request: InboundRequest, secret: str, *, header: str) -> None:
    """A header that repeats the secret itself."""
    if not secret or not _equal(request.headers.get(header.lower(), ""), secret):
        _refuse()


def media_type(request: InboundRequest) -> str:
    """`application/json` of `Application/JSON; charset=utf-8`."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_json(request: InboundRequest) -> Any:
    try:
        return jsonvalues.loads(request.body)
    except jsonvalues.BadJsonError as error:
        raise RefusedError(str(error), status=400) from None


def read_text(request: InboundRequest) -> str:
    try:
        return request.body.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(f"the body is not UTF-8 text (byte {error.start})", status=400) from None


def read_form(request: InboundRequest) -> dict[str, str | list[str]]:
    """Names and values; a name that repeats has a list."""
    source = read_text(request)
    if source.count("&") >= MAX_FORM_FIELDS:
        raise RefusedError(f"the form has more than {MAX_FORM_FIELDS} fields", status=400)
    form: dict[str, str | list[str]] = {}
    try:
        pairs = parse_qsl(source, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise RefusedError("the form holds a value that is not UTF-8 text", status=400) from None
    for name, value in pairs:
        form[name] = _joined(form[name], value) if name in form else value
    return form


def _joined(before: str | list[str], value: str) -> list[str]:
    if isinstance(before, str):
        return [before, value]
    before.append(value)
    return before


def _instant(seconds: str) -> datetime:
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 11):
        _refuse()
    return datetime.fromtimestamp(int(seconds), UTC)


def _decode(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        _refuse()


def _equal(given: str, expected: str) -> bool:
    """In constant time; as bytes, because `compare_digest` refuses text beyond ASCII."""
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode(errors="surrogatepass"))


def _refuse() -> NoReturn:
    """One sentence for every failure: it must not tell a forger how near they are."""
    raise RefusedError("this call could not be verified; compare the signing secret on both sides")
