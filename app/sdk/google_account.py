"""A Google account: signed in to by OAuth, or a service account with its key; and a token that works now."""

import importlib
import json
from typing import Any, Final, Literal, Self

from pydantic import SecretStr, ValidationInfo, field_validator

from app.sdk import mail, oauth
from app.sdk.context import Context
from app.sdk.errors import AuthError
from app.sdk.fields import Text, setting
from app.sdk.oauth import OAuth, OAuthAccount

_ASSERTION_AUDIENCE: Final = "https://oauth2.googleapis.com/token"
_KEY_FIELDS: Final = ("client_email", "private_key")


def sign_in(*scopes: str, api: str) -> OAuth:
    """How one signs in to use `api`, of which Google speaks by that name in its console."""
    return OAuth(
        service="Google",
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106 (an address)
        scopes=scopes,
        # Google gives a refresh token only when asked so, and again only with the question put anew.
        extra={"access_type": "offline", "prompt": "consent"},
        steps=(
            "open console.cloud.google.com, choose or create a project",
            f"under APIs & Services → Library, enable the {api}",
            "under APIs & Services → OAuth consent screen, choose Internal, or External and publish the app",
            "under APIs & Services → Credentials → Create credentials → OAuth client ID, choose Web application",
            "add {redirect} as an authorized redirect URI, letter by letter",
            "copy client ID and client secret into the fields below and press the button",
        ),
        instead=(
            f"open console.cloud.google.com, choose or create a project and enable the {api} there",
            "under IAM & Admin → Service accounts, create one; it needs no role",
            "open it and choose Keys → Add key → JSON: the file is kept nowhere else",
            "choose the service account below and paste the whole content of the file",
            "share what it may use with its address, or let an admin of your Workspace allow it to act as a person",
        ),
        ends="it was withdrawn, the password was changed, or it was not used for six months",
    )


class GoogleAccount(OAuthAccount):
    """A Google account that somebody signs in to, or a service account of a Google Cloud project."""

    method: Literal["oauth", "service_account"] = setting(
        "How to connect",
        "oauth",
        help="a service account is a robot with a key that sees only what is shared with its address",
        choices={"oauth": "sign in with a Google account", "service_account": "service account (JSON key)"},
        example="oauth",
    )
    client_id: Text = setting(
        "Client ID",
        "",
        help="for oauth",
        example="1234567890-abc.apps.googleusercontent.com",
        where="in Google's console under APIs & Services → Credentials",
        validate_default=True,
    )
    client_secret: SecretStr = setting(
        "Client secret",
        SecretStr(""),
        help="for oauth",
        example="GOCSPX-0a1b2c3d4e5f6g7h8i9j",
        where="beside the client ID",
        validate_default=True,
    )
    service_account_key: SecretStr = setting(
        "Service account key",
        SecretStr(""),
        help="for a service account: the whole content of the JSON file",
        where="in Google's console under IAM & Admin → Service accounts → Keys → Add key → JSON",
        validate_default=True,
    )
    subject: Text = setting(
        "Act as",
        "",
        help="for a service account, optional: the person of your Google Workspace it acts as, if an admin allowed it",
        example="ada@example.com",
    )

    @field_validator("client_id", "client_secret")
    @classmethod
    def _needed_for_oauth(cls, value: Any, info: ValidationInfo) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if info.data.get("method") == "oauth" and not text.strip():
            raise ValueError("is needed to sign in with oauth")
        return value

    @field_validator("service_account_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.data.get("method") == "service_account":
            _parse_key(value)
        return value

    @field_validator("subject")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return mail.parse_address(value).addr_spec if value.strip() else ""

    @property
    def signs_in(self) -> bool:
        return self.method == "oauth"

    @property
    def email(self) -> str:
        """The address of the service account; of a person's account none is known here."""
        return "" if self.signs_in else str(_parse_key(self.service_account_key)["client_email"])

    def client_credentials(self) -> tuple[str, str]:
        return self.client_id.strip(), self.client_secret.get_secret_value().strip()

    def renewed(self, ctx: Context) -> Self:
        if self.signs_in:
            return super().renewed(ctx)
        with oauth.errors_of(self.oauth, lambda code: _key_refused(self, code)):
            answer = oauth.assertion(ctx, self.oauth, _signed(ctx, self))
        return self.with_tokens(answer, ctx.now)


def access_token(ctx: Context, connection: GoogleAccount) -> str:
    """A token that works now. The engine renews those it keeps; one that was never kept is made for this call."""
    ready = connection.renewed(ctx) if connection.is_due(ctx.now) else connection
    return ready.access_token.get_secret_value()


def _parse_key(value: SecretStr) -> dict[str, Any]:
    """Raises ValueError for what is not the JSON of a service account."""
    try:
        key = json.loads(value.get_secret_value())
    except (ValueError, RecursionError):
        raise ValueError("must be the whole content of the json file that google made") from None
    if not isinstance(key, dict) or key.get("type") != "service_account":
        raise ValueError("is not the key of a service account; make one under its Keys")
    if not all(isinstance(key.get(name), str) and key[name] for name in _KEY_FIELDS):
        raise ValueError("is incomplete; paste the whole content of the json file")
    return key


def _signed(ctx: Context, account: GoogleAccount) -> str:
    """https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests"""
    key = _parse_key(account.service_account_key)
    sign = importlib.import_module("authlib.oauth2.rfc7523").JWTBearerGrant.sign
    now = int(ctx.now.timestamp())
    try:
        # Always to Google: the key's own `token_uri` would let whoever edits it choose where this is sent.
        signed: str = sign(
            importlib.import_module("joserfc.jwk").RSAKey.import_key(key["private_key"]),
            issuer=key["client_email"],
            audience=_ASSERTION_AUDIENCE,
            subject=account.subject or None,
            issued_at=now,
            expires_at=now + 3600,
            claims={"scope": " ".join(account.oauth.scopes)},
            header={"alg": "RS256", **({"kid": key["private_key_id"]} if key.get("private_key_id") else {})},
        )
    except ValueError:
        raise AuthError("the private key of the service account cannot be read; make a new key") from None
    return signed


def _key_refused(account: GoogleAccount, code: str) -> AuthError:
    if code == "unauthorized_client" and account.subject:
        scopes = ", ".join(account.oauth.scopes)
        return AuthError(
            f"{account.email} may not act as {account.subject}; let an admin allow domain-wide delegation of {scopes}"
        )
    if code == "invalid_grant":
        return AuthError(f"google does not accept the key of {account.email}: it was deleted; make a new one")
    return AuthError(
        f"google refused the service account {account.email} ({oauth.plain_code(code)}); make a new key"
    )
