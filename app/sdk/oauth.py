"""OAuth 2.0: accounts that a person signs in to at the service itself, and the steps of the protocol by Authlib."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Self

from pydantic import SecretStr

from app.sdk.context import Context
from app.sdk.errors import AuthError, TemporaryError
from app.sdk.fields import Settings, setting
from app.sdk.oauth_wire import TokenSession
from app.sdk.urls import placed

# Renewed while it still works, so that nobody has to wait for the new one.
EARLY: Final = timedelta(minutes=5)

_STATE_CHARS: Final = 48
# RFC 7636 §4.1: 43 to 128 characters.
_VERIFIER_CHARS: Final = 64
_CLIENT_ERRORS: Final = frozenset(
    {"invalid_client", "unauthorized_client", "deleted_client", "disabled_client"}
)


@dataclass(frozen=True, slots=True)
class OAuth:
    """How one signs in at a service.

    `extra` goes into the authorize address as it is. `steps` tell a person how to get client id and secret there;
    `{redirect}` stands for the address to copy; `instead` are those of the way without a sign-in. `ends` says in
    words why a sign-in may stop working.
    """

    service: str
    authorize_url: str
    token_url: str
    scopes: tuple[str, ...]
    extra: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    ends: str = "it was withdrawn there or has expired"

    @property
    def name(self) -> str:
        """As it begins a sentence."""
        return self.service.lower()


class OAuthAccount(Settings):
    """Base of the accounts that one signs in to: `client_credentials` says as which program."""

    oauth: ClassVar[OAuth]
    # Never typed: what signing in brings.
    filled: ClassVar[frozenset[str]] = frozenset({"access_token", "refresh_token", "expires_at", "granted"})

    access_token: SecretStr = setting("Access token", SecretStr(""), example="at-94kd02kdkw93kd0")
    refresh_token: SecretStr = setting("Refresh token", SecretStr(""), example="rt-03kd92kdk38dkw9")
    expires_at: datetime | None = setting("Access until", None)
    granted: list[str] = setting("Allowed", default_factory=list)

    @property
    def signs_in(self) -> bool:
        """Whether a person has to go to the service's own page."""
        return True

    @property
    def is_signed_in(self) -> bool:
        return bool(self.access_token.get_secret_value() or self.refresh_token.get_secret_value())

    def client_credentials(self) -> tuple[str, str]:
        """Client id and secret."""
        raise NotImplementedError

    def is_due(self, now: datetime, *, early: timedelta = EARLY) -> bool:
        """Whether the access token is missing or ends within `early`."""
        if not self.access_token.get_secret_value():
            return True
        if self.expires_at is None:
            # Without an end it works for ever, unless there is something to renew it with.
            return bool(self.refresh_token.get_secret_value())
        return self.expires_at - now <= early

    def renewed(self, ctx: Context) -> Self:
        """The account with a new access token. Raises AuthError when a person has to sign in again."""
        token = self.refresh_token.get_secret_value()
        if not token:
            raise AuthError(f"nobody has signed in to {self.oauth.name} yet; open the connection and sign in")
        with _told_apart(self):
            answer = _client(ctx, self).refresh_token(ctx.placed(self.oauth.token_url), refresh_token=token)
        return self.with_tokens(answer, ctx.now)

    def without_tokens(self) -> Self:
        none = SecretStr("")
        empty: dict[str, Any] = {
            "access_token": none,
            "refresh_token": none,
            "expires_at": None,
            "granted": [],
        }
        return self.model_copy(update=empty)

    def with_tokens(self, answer: Mapping[str, Any], now: datetime) -> Self:
        """What a token endpoint answered (RFC 6749 §5.1); a refresh token that is not sent anew stays."""
        access = answer.get("access_token")
        if not isinstance(access, str) or not access:
            raise TemporaryError(f"{self.oauth.name} gave no access token; try again", sent=False)
        scope = answer.get("scope")
        return self.model_copy(
            update={
                "access_token": SecretStr(access),
                "refresh_token": SecretStr(
                    answer.get("refresh_token") or self.refresh_token.get_secret_value()
                ),
                "expires_at": _expiry(answer.get("expires_in"), now),
                "granted": scope.split()
                if isinstance(scope, str)
                else self.granted or list(self.oauth.scopes),
            }
        )

    def missing_scopes(self) -> list[str]:
        """What was asked for and not allowed; people can untick it."""
        return [scope for scope in self.oauth.scopes if scope not in self.granted]


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the person; `state` and `verifier` are needed when they come back."""

    url: str
    state: str
    verifier: str = field(repr=False)


def begin(account: OAuthAccount, *, redirect_url: str, base_url: str | None) -> Begun:
    """RFC 6749 §4.1.1 with PKCE (RFC 7636, S256)."""
    generate = importlib.import_module("authlib.common.security").generate_token
    state, verifier = generate(_STATE_CHARS), generate(_VERIFIER_CHARS)
    client = _library().OAuth2Client(
        None,
        client_id=account.client_credentials()[0],
        scope=" ".join(account.oauth.scopes),
        redirect_uri=redirect_url,
        code_challenge_method="S256",
    )
    url, _ = client.create_authorization_url(
        placed(account.oauth.authorize_url, base_url),
        state=state,
        code_verifier=verifier,
        **account.oauth.extra,
    )
    return Begun(url, state, verifier)


def exchange(
    ctx: Context, account: OAuthAccount, *, code: str, verifier: str, redirect_url: str
) -> OAuthAccount:
    """The account with the tokens that `code` buys (RFC 6749 §4.1.3).

    Raises AuthError, also when less was allowed than asked for, and TemporaryError.
    """
    with _told_apart(account):
        answer = _client(ctx, account).fetch_token(
            ctx.placed(account.oauth.token_url),
            grant_type="authorization_code",
            code=code,
            code_verifier=verifier,
            redirect_uri=redirect_url,
        )
    signed_in = account.with_tokens(answer, ctx.now)
    if missing := signed_in.missing_scopes():
        names = ", ".join(missing)
        raise AuthError(
            f"{account.oauth.name} was not allowed to give {names}; sign in again and tick every box"
        )
    if not signed_in.refresh_token.get_secret_value():
        raise AuthError(
            f"{account.oauth.name} gave no refresh token; withdraw this program's access there, then sign in again"
        )
    return signed_in


def assertion(ctx: Context, oauth: OAuth, signed: str) -> Mapping[str, Any]:
    """What the token endpoint gives for a signed statement (RFC 7523 §2.1)."""
    client = _library().OAuth2Client(
        TokenSession(ctx, oauth.name),
        token_endpoint_auth_method="none",  # noqa: S106 (the name of a method)
    )
    grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    answer: Mapping[str, Any] = client.fetch_token(
        ctx.placed(oauth.token_url), grant_type=grant_type, assertion=signed
    )
    return answer


def refused(account: OAuthAccount, code: str) -> AuthError:
    """A sentence for the error code of RFC 6749 §5.2; what else was said is the service's own and stays unsaid."""
    service = account.oauth.name
    if code == "invalid_grant":
        return AuthError(f"{service} ended this access: {account.oauth.ends}; connect it again")
    if code in _CLIENT_ERRORS:
        return AuthError(f"{service} refused client id or client secret ({code}); copy both again from there")
    if code == "redirect_uri_mismatch":
        return AuthError(
            f"{service} does not know our redirect address; add it to the client there, letter by letter"
        )
    if code == "access_denied":
        return AuthError(f"the sign-in at {service} was canceled; nothing was changed")
    return AuthError(f"{service} refused the sign-in ({plain_code(code)}); connect it again")


def plain_code(code: str) -> str:
    """An error code of a stranger as it may stand in a sentence."""
    return (
        "".join(char for char in code if char.isascii() and (char.isalnum() or char in "_-."))[:60]
        or "no reason given"
    )


def _client(ctx: Context, account: OAuthAccount) -> Any:
    client_id, client_secret = account.client_credentials()
    return _library().OAuth2Client(
        TokenSession(ctx, account.oauth.name),
        client_id=client_id,
        client_secret=client_secret,
        token_endpoint_auth_method="client_secret_post",  # noqa: S106 (the name of a method)
    )


def _library() -> Any:
    """Slow to import: wanted when somebody signs in, not when the process starts."""
    return importlib.import_module("authlib.oauth2.client")


@contextmanager
def _told_apart(account: OAuthAccount) -> Iterator[None]:
    with errors_of(account.oauth, lambda code: refused(account, code)):
        yield


@contextmanager
def errors_of(oauth: OAuth, objection: Callable[[str], AuthError]) -> Iterator[None]:
    """Authlib's errors in our vocabulary; `objection` makes one of an error code."""
    base = importlib.import_module("authlib.oauth2.base")
    try:
        yield
    except base.OAuth2Error as error:
        if error.error in {"temporarily_unavailable", "server_error"}:
            raise TemporaryError(f"{oauth.name} cannot renew the access now", sent=False) from error
        raise objection(str(error.error)) from error
    except ValueError:
        raise TemporaryError(
            f"{oauth.name} gave an answer that cannot be read; try again", sent=False
        ) from None


def _expiry(seconds: object, now: datetime) -> datetime | None:
    try:
        return now + timedelta(seconds=float(str(seconds))) if seconds is not None else None
    except (ValueError, OverflowError):
        return None
