"""HTTP: call any address."""

import re
import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from app.sdk import lists, polling
from app.sdk.access import Access, Proof, body_of, prove, require_success
from app.sdk.declare import Batch, Context, Integration, Sample
from app.sdk.fields import Pairs, Settings, Text, setting
from app.sdk.http import UNSET, Answer, raise_for_status
from app.sdk.sealed import mask
from app.sdk.urls import looks_secret, parse_url

http = Integration(
    module=__name__,
    title="HTTP",
    about="call any address on the web and use what it answers",
    need="optional",
)

# RFC 9110 §9.2.2
_REPEATABLE: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_CREDENTIALS: Final = re.compile(
    r"(proxy-)?authorization|cookie|(x-)?api[-_]?key|x-(auth-|access-)?token|x-secret|private-token|access_token"
    r"|client_secret|password",
    re.IGNORECASE,
)

http.connection(Access)


@http.check
def check(ctx: Context, connection: Access) -> str:
    """Calls the check address, if there is one."""
    if not connection.check_url:
        return "nothing to call: add a check address to prove it"
    proof = prove(connection, connection.check_url)
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


def _no_credentials(pairs: dict[str, Any]) -> dict[str, Any]:
    named = next((name for name in pairs if _CREDENTIALS.fullmatch(name.strip())), None)
    if named:
        raise ValueError(f"{named.lower()} belongs in a connection, where it is sealed")
    return pairs


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

        _hold_no_credentials = field_validator("query", "headers")(_no_credentials)

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
    proof = prove(connection, params.url)
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
    require_success(answer, connection, proof, expect=params.expect)
    return _output(answer, proof)


def _headers(ctx: Context, params: Request) -> dict[str, str]:
    own = {"Idempotency-Key": ctx.idempotency_key} if ctx.idempotency_key else {}
    if params.text:
        own["Content-Type"] = params.content_type
    chosen = {name.strip().lower() for name in params.headers}
    return {name: value for name, value in own.items() if name.lower() not in chosen} | params.headers


def _output(answer: Answer, proof: Proof) -> dict[str, Any]:
    shown = {name: value for name, value in answer.headers.items() if not looks_secret(name)}
    return {
        "status": answer.status,
        "headers": {name: mask(value, proof.secrets) for name, value in shown.items()},
        "body": body_of(answer, proof),
        "elapsed_ms": answer.elapsed_ms,
    }


class _Target(Settings):
    """An address that gives a list."""

    url: Text = setting("URL", example="https://shop.example/orders", min_length=1)
    query: Pairs = setting("Query", {}, help="what stands behind the ?", widget="pairs")
    headers: dict[str, Text] = setting("Headers", {}, widget="pairs")
    items: Text = setting(
        "Where the list is", "", help="in the answer; empty: the answer is the list", example="data.orders"
    )

    _hold_no_credentials = field_validator("query", "headers")(_no_credentials)


class Pages(lists.Paging, _Target):
    """A list that comes in pages."""


@http.action(
    "Get all pages of a list",
    idempotent=True,
    samples=[
        Sample(
            {"url": "https://shop.example/orders", "items": "orders", "next_at": "next"},
            {"items": [{"id": 1}, {"id": 2}], "count": 2, "pages": 2, "more": False},
        )
    ],
)
def pages(ctx: Context, connection: Access | None, params: Pages) -> Mapping[str, Any]:
    """Calls an address page by page, at most twenty, and gives the items of all pages as one list."""

    def get(page: lists.Page) -> tuple[Answer, Any]:
        answer = _get(
            ctx, connection, params, page.url or params.url, query=page.query, deadline_s=page.deadline_s
        )
        return answer, body_of(answer, prove(connection, answer.url))

    return lists.joined(params, params.query, params.items, get)


class _Keyed(_Target):
    """A list whose items can be told apart."""

    key: Text = setting(
        "What tells items apart",
        "id",
        help="a field of each item; items without it are told apart by all they say",
    )
    newest: Literal["first", "last"] = setting("The newest item is the", "first")


class Watched(polling.Looking, _Keyed):
    """A list to look at again and again."""


@http.poll("New item in a list", every=timedelta(minutes=5), samples=[{"id": 7, "state": "open"}])
def new_item(
    ctx: Context,
    connection: Access | None,
    params: Watched,
    cursor: Mapping[str, str] | None,
    recent_keys: list[str],
) -> Batch:
    """Calls an address again and again and starts the rule once for each item that was not in its list before."""
    answer = _get(ctx, connection, params, params.url, query=params.query, headers=polling.conditions(cursor))
    if answer.status == 304:
        return Batch([], cursor, recent_keys)
    found = lists.items_at(body_of(answer, prove(connection, answer.url)), params.items)
    return polling.fresh(
        found if params.newest == "first" else found[::-1],
        key=lambda item: lists.key_of(item, params.key),
        data=lambda item: item,
        cursor=cursor,
        next_cursor=polling.marks(answer),
        recent_keys=recent_keys,
        first=params.first,
    )


def _get(
    ctx: Context,
    connection: Access | None,
    params: _Target,
    url: str,
    *,
    query: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    deadline_s: float = 30,
) -> Answer:
    proof = prove(connection, url)
    answer = ctx.http.request(
        "GET",
        url,
        headers={**(headers or {}), **params.headers, **proof.headers},
        params={**query, **proof.query},
        secret_headers=proof.headers,
        deadline_s=deadline_s,
    )
    require_success(answer, connection, proof)
    return answer
