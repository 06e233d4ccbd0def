"""Who calls an address, what is added to prove it, and what of the answer may be shown."""

import re
from base64 import b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, SecretStr, ValidationInfo, field_validator

from app.sdk import jsonvalues
from app.sdk.context import Context
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.fields import Pairs, Settings, Text, setting
from app.sdk.http import Answer, raise_for_status
from app.sdk.sealed import MIN_SECRET_CHARS, authorities, authority, mask, require_named_host, spellings
from app.sdk.urls import parse_url

# Answers of a server that did not take the request; 502 and 504 come from a gateway that does not know.
_NOT_TAKEN: Final = frozenset({408, 425, 429, 500, 503})
_TEXTUAL: Final = ("text/", "application/xml", "application/javascript", "application/x-www-form-urlencoded")


_CREDENTIALS: Final = re.compile(
    r"(proxy-)?authorization|cookie|(x-)?api[-_]?key|x-(auth-|access-)?token|x-secret|private-token|access_token"
    r"|client_secret|password",
    re.IGNORECASE,
)


def _no_credentials(pairs: dict[str, Any]) -> dict[str, Any]:
    named = next((name for name in pairs if _CREDENTIALS.fullmatch(name.strip())), None)
    if named:
        raise ValueError(f"{named.lower()} belongs in a connection, where it is sealed")
    return pairs


# What a step itself says, for everybody to read: no secrets.
OpenQuery: TypeAlias = Annotated[Pairs, AfterValidator(_no_credentials)]
OpenHeaders: TypeAlias = Annotated[dict[str, Text], AfterValidator(_no_credentials)]


class Access(Settings):
    """What proves who you are to one service. It is sent to the hosts you name here, and to no other."""

    auth: Literal["bearer", "basic", "header", "query"] = setting(
        "How it is sent",
        "bearer",
        choices={
            "bearer": "as Authorization: Bearer …",
            "basic": "as user name and password (Basic)",
            "header": "in a header of your choice",
            "query": "as a parameter behind the ?",
        },
        example="bearer",
    )
    secret: SecretStr = setting(
        "Token, password or key",
        example="tok_3kd93kd93kd9",
        where="in the service's settings, often under API",
    )
    hosts: Text = setting(
        "Hosts",
        help="the only hosts this secret is sent to, with commas between; with a port where it is not 80 or 443",
        example="api.example.com",
        min_length=1,
    )
    user: Text = setting("User name", "", help="only for basic", validate_default=True)
    name: Text = setting(
        "Header or parameter",
        "",
        help="what it is called; only for header and query",
        example="X-Api-Key",
        validate_default=True,
    )
    check_url: Text = setting(
        "Check address",
        "",
        help="a harmless GET that answers 2xx only with a valid secret",
        example="https://api.example.com/me",
    )

    @field_validator("secret")
    @classmethod
    def _is_there(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value().strip()) < MIN_SECRET_CHARS:
            raise ValueError(f"must have at least {MIN_SECRET_CHARS} characters")
        return secret

    @field_validator("hosts")
    @classmethod
    def _are_hosts(cls, hosts: str) -> str:
        if not all(authorities(hosts)):
            raise ValueError("must be host names with commas between, such as api.example.com")
        return hosts

    @field_validator("user")
    @classmethod
    def _has_user(cls, user: str, info: ValidationInfo) -> str:
        if info.data.get("auth") == "basic" and not user:
            raise ValueError("is needed for basic")
        return user

    @field_validator("name")
    @classmethod
    def _has_name(cls, name: str, info: ValidationInfo) -> str:
        if info.data.get("auth") in {"header", "query"} and not name.strip():
            raise ValueError("is needed; for example X-Api-Key")
        return name.strip()

    @field_validator("check_url")
    @classmethod
    def _is_at_a_host(cls, url: str, info: ValidationInfo) -> str:
        if url and "hosts" in info.data and authority(url) not in authorities(info.data["hosts"]):
            raise ValueError("must be at one of the hosts above")
        return url


@dataclass(frozen=True, slots=True)
class Proof:
    """What a connection adds to a request, and every spelling of its secret."""

    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


def prove(connection: Access | None, url: str) -> Proof:
    """Raises RejectedError where the connection does not name the host."""
    if connection is None:
        return Proof()
    require_named_host(url, connection.hosts)
    secret = connection.secret.get_secret_value().strip()
    basic = b64encode(f"{connection.user}:{secret}".encode()).decode()
    secrets = spellings(secret, basic)
    if connection.auth == "query":
        return Proof(query={connection.name: secret}, secrets=secrets)
    if connection.auth == "header":
        return Proof(headers={connection.name: secret}, secrets=secrets)
    value = f"Basic {basic}" if connection.auth == "basic" else f"Bearer {secret}"
    return Proof(headers={"Authorization": value}, secrets=secrets)


def call(
    ctx: Context,
    connection: Access | None,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, Any] | None = None,
    expect: Collection[int] = (),
    **sent: Any,
) -> tuple[Answer, Proof]:
    """A successful answer, and what proved to the service who called. The connection's part wins over the step's."""
    proof = prove(connection, url)
    answer = ctx.http.request(
        method,
        url,
        headers={**(headers or {}), **proof.headers},
        params={**(query or {}), **proof.query},
        secret_headers=proof.headers,
        **sent,
    )
    require_success(answer, connection, proof, expect=expect)
    return answer, proof


def require_success(
    answer: Answer, connection: Access | None, proof: Proof, *, expect: Collection[int] = ()
) -> None:
    """`expect` are the statuses that mean success; without any, everything below 400."""
    if answer.status in expect:
        return
    host = parse_url(answer.url).typed_host
    try:
        raise_for_status(answer, service=host, secrets=proof.secrets)
    except AuthError as error:
        if connection is None:
            raise RejectedError(
                f"{host} asks who calls ({answer.status}); add a connection to this step"
            ) from None
        raise error from None
    except TemporaryError as error:
        raise TemporaryError(str(error), after=error.after, sent=answer.status not in _NOT_TAKEN) from None
    if expect:
        wanted = ", ".join(map(str, expect))
        raise RejectedError(f"{host} answered {answer.status}, not {wanted}")


def body_of(answer: Answer, proof: Proof) -> Any:
    """JSON taken apart, text as text, None for what is neither (an image)."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    text = mask(answer.text, proof.secrets)
    if kind.endswith(("/json", "+json")):
        try:
            return jsonvalues.loads(text.encode())
        except jsonvalues.BadJsonError:
            return text
    return text if not kind or kind.startswith(_TEXTUAL) or kind.endswith("+xml") else None
