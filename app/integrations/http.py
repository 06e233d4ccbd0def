"""HTTP: call any address."""

import re
import warnings
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from app.sdk import jsonvalues
from app.sdk.declare import Context, Integration, Sample
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.fields import Pairs, Settings, Text, setting
from app.sdk.http import UNSET, Answer, raise_for_status
from app.sdk.sealed import MIN_SECRET_CHARS, authorities, authority, mask, require_named_host, spellings
from app.sdk.urls import looks_secret, parse_url

http = Integration(
    module=__name__,
    title="HTTP",
    about="call any address on the web and use what it answers",
    need="optional",
)

# RFC 9110 §9.2.2
_REPEATABLE: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
# Answers of a server that did not take the request; 502 and 504 come from a gateway that does not know.
_NOT_TAKEN: Final = frozenset({408, 425, 429, 500, 503})
_CREDENTIALS: Final = re.compile(
    r"(proxy-)?authorization|cookie|(x-)?api[-_]?key|x-(auth-|access-)?token|x-secret|private-token|access_token"
    r"|client_secret|password",
    re.IGNORECASE,
)
_TEXTUAL: Final = ("text/", "application/xml", "application/javascript", "application/x-www-form-urlencoded")


@http.connection
class Access(Settings):
    """What proves who you are to one service. It is sent to the hosts you name here, and to no other."""

    auth: Literal["bearer", "basic", "header", "query"] = setting(
        "How it is sent",
        "bearer",
        help="bearer: Authorization: Bearer …; basic: user name and password; header: a header of your choice; "
        "query: a parameter behind the ?",
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
        "Name",
        "",
        help="of the header or the parameter, only for those",
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
class _Proof:
    """What a connection adds to a request, and every spelling of its secret."""

    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


def _proof(connection: Access | None, url: str) -> _Proof:
    if connection is None:
        return _Proof()
    require_named_host(url, connection.hosts)
    secret = connection.secret.get_secret_value().strip()
    basic = b64encode(f"{connection.user}:{secret}".encode()).decode()
    secrets = spellings(secret, basic)
    if connection.auth == "query":
        return _Proof(query={connection.name: secret}, secrets=secrets)
    if connection.auth == "header":
        return _Proof(headers={connection.name: secret}, secrets=secrets)
    value = f"Basic {basic}" if connection.auth == "basic" else f"Bearer {secret}"
    return _Proof(headers={"Authorization": value}, secrets=secrets)


@http.check
def check(ctx: Context, connection: Access) -> str:
    """Calls the check address, if there is one."""
    if not connection.check_url:
        return "nothing to call: add a check address to prove it"
    proof = _proof(connection, connection.check_url)
    answer = ctx.http.request(
        "GET",
        connection.check_url,
        headers=proof.headers,
        params=proof.query,
        secret_headers=proof.headers,
        deadline_s=15,
    )
    host = parse_url(connection.check_url).typed_host
    raise_for_status(answer, service=host, secrets=proof.secrets)
    return f"{host} answered {answer.status}"


# Named as every HTTP tool names it; it hides a method of pydantic's that is long deprecated.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"', UserWarning)

    class Request(Settings):
        """What to send, and where."""

        method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] = setting("Method", "GET")
        url: Text = setting("URL", example="https://shop.example/orders", min_length=1)
        query: Pairs = setting("Query", {}, help="what stands behind the ?", widget="pairs")
        headers: dict[str, Text] = setting("Headers", {}, widget="pairs")
        json: Any = setting(
            "JSON body", None, help="any JSON", example={"order": "{{ event.order }}"}, widget="code"
        )
        form: Pairs = setting("Form body", {}, help="sent as a web form", widget="pairs")
        text: Text = setting("Text body", "", widget="textarea", validate_default=True)
        content_type: Text = setting("Content type of the text", "text/plain; charset=utf-8")
        expect: list[Annotated[int, Field(ge=100, le=599)]] = setting(
            "Statuses that mean success", [], help="without any: everything below 400", example=[200, 404]
        )
        deadline_s: float = setting("Longest wait, in seconds", 30, ge=1, le=120)
        repeat_safe: bool = setting(
            "Safe to repeat",
            False,
            help="for POST and PATCH: the service drops repeats with the same Idempotency-Key header",
        )

        @field_validator("query", "headers")
        @classmethod
        def _hold_no_credentials(cls, pairs: dict[str, Any]) -> dict[str, Any]:
            named = next((name for name in pairs if _CREDENTIALS.fullmatch(name.strip())), None)
            if named:
                raise ValueError(f"{named.lower()} belongs in a connection, where it is sealed")
            return pairs

        @field_validator("json")
        @classmethod
        def _is_something(cls, value: Any) -> Any:
            return None if value == "" else value

        @field_validator("text")
        @classmethod
        def _is_the_only_body(cls, text: str, info: ValidationInfo) -> str:
            if sum([info.data.get("json") is not None, bool(info.data.get("form")), bool(text)]) > 1:
                raise ValueError("a request has one body: fill in json, form or text")
            return text


def _is_repeatable(params: Request) -> bool:
    return params.method in _REPEATABLE or params.repeat_safe


@http.action(
    "Send a request",
    idempotent=_is_repeatable,
    samples=[
        Sample(
            {"method": "POST", "url": "https://shop.example/done", "json": {"order": "A-1001"}},
            {
                "status": 201,
                "headers": {"content-type": "application/json"},
                "body": {"id": 7, "state": "done"},
                "elapsed_ms": 84,
            },
        ),
        Sample(
            {"method": "GET", "url": "https://shop.example/orders", "query": {"state": "open"}},
            {"status": 200, "headers": {"content-type": "text/plain"}, "body": "none open", "elapsed_ms": 31},
        ),
    ],
)
def request(ctx: Context, connection: Access | None, params: Request) -> Mapping[str, Any]:
    """Calls an address and gives back status, headers and body; a JSON body is taken apart into its fields.

    GET, HEAD, PUT and DELETE are repeated when something fails on the way; POST and PATCH only when they are
    marked as safe to repeat.
    """
    proof = _proof(connection, params.url)
    answer = ctx.http.request(
        params.method,
        params.url,
        headers=_headers(ctx, params) | proof.headers,
        params={**params.query, **proof.query},
        json=UNSET if params.json is None else params.json,
        content=params.text or None,
        form=params.form or None,
        deadline_s=params.deadline_s,
        secret_headers=proof.headers,
    )
    _require_success(answer, connection, params, proof)
    return _output(answer, proof)


def _headers(ctx: Context, params: Request) -> dict[str, str]:
    own = {"Idempotency-Key": ctx.idempotency_key} if ctx.idempotency_key else {}
    if params.text:
        own["Content-Type"] = params.content_type
    chosen = {name.strip().lower() for name in params.headers}
    return {name: value for name, value in own.items() if name.lower() not in chosen} | params.headers


def _require_success(answer: Answer, connection: Access | None, params: Request, proof: _Proof) -> None:
    if answer.status in params.expect:
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
    if params.expect:
        wanted = ", ".join(map(str, params.expect))
        raise RejectedError(f"{host} answered {answer.status}, not {wanted}")


def _output(answer: Answer, proof: _Proof) -> dict[str, Any]:
    shown = {name: value for name, value in answer.headers.items() if not looks_secret(name)}
    return {
        "status": answer.status,
        "headers": {name: mask(value, proof.secrets) for name, value in shown.items()},
        "body": _body(answer, proof),
        "elapsed_ms": answer.elapsed_ms,
    }


def _body(answer: Answer, proof: _Proof) -> Any:
    """JSON taken apart, text as text, None for what is neither (an image)."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    text = mask(answer.text, proof.secrets)
    if kind.endswith(("/json", "+json")):
        try:
            return jsonvalues.loads(text.encode())
        except jsonvalues.BadJsonError:
            return text
    return text if not kind or kind.startswith(_TEXTUAL) or kind.endswith("+xml") else None
