"""HTTP: call any address."""

import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from app.sdk import lists, polling
from app.sdk.access import Access, OpenHeaders, OpenQuery, body_of, call
from app.sdk.declare import Batch, Context, Integration
from app.sdk.fields import Pairs, Settings, Text, setting
from app.sdk.http import UNSET, Answer
from app.sdk.notices import Notice
from app.sdk.sealed import mask
from app.sdk.shapes import AnyJson
from app.sdk.urls import looks_secret, parse_url

http = Integration(
    module=__name__,
    title="HTTP",
    about="call any address on the web and use what it answers",
    need="optional",
)

# RFC 9110 §9.2.2
_REPEATABLE: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})

http.connection(Access)


@http.check
def check(ctx: Context, connection: Access) -> str:
    """Calls the check address, if there is one."""
    if not connection.check_url:
        return "nothing to call: add a check address to prove it"
    answer, _ = call(ctx, connection, "GET", connection.check_url, deadline_s=15)
    return f"{parse_url(connection.check_url).typed_host} answered {answer.status}"


# Named as every HTTP tool names it; it hides a method of pydantic's that is long deprecated.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"', UserWarning)

    class Request(Settings):
        """What to send, and where."""

        method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] = setting("Method", "GET")
        url: Text = setting("URL", example="https://shop.example/orders", min_length=1)
        query: OpenQuery = setting("Query", {}, help="what stands behind the ?", widget="pairs")
        headers: OpenHeaders = setting("Headers", {}, widget="pairs")
        json: AnyJson = setting(
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

        @field_validator("text")
        @classmethod
        def _is_the_only_body(cls, text: str, info: ValidationInfo) -> str:
            if sum([info.data.get("json") is not None, bool(info.data.get("form")), bool(text)]) > 1:
                raise ValueError("a request has one body: fill in json, form or text")
            return text


def _is_repeatable(params: Request) -> bool:
    return params.method in _REPEATABLE or params.repeat_safe


@http.action("Send a request", idempotent=_is_repeatable)
def request(ctx: Context, connection: Access | None, params: Request) -> Mapping[str, Any]:
    """Calls an address and gives back status, headers and body; a JSON body is taken apart into its fields.

    GET, HEAD, PUT and DELETE are repeated when something fails on the way; POST and PATCH only when they are
    marked as safe to repeat.
    """
    answer, proof = call(
        ctx,
        connection,
        params.method,
        params.url,
        expect=params.expect,
        headers=_headers(ctx, params),
        query=params.query,
        json=UNSET if params.json is None else params.json,
        content=params.text or None,
        form=params.form or None,
        deadline_s=params.deadline_s,
    )
    shown = {name: value for name, value in answer.headers.items() if not looks_secret(name)}
    return {
        "status": answer.status,
        "headers": {name: mask(value, proof.secrets) for name, value in shown.items()},
        "body": body_of(answer, proof),
        "elapsed_ms": answer.elapsed_ms,
    }


def _headers(ctx: Context, params: Request) -> dict[str, str]:
    own = {"Idempotency-Key": ctx.idempotency_key} if ctx.idempotency_key else {}
    if params.text:
        own["Content-Type"] = params.content_type
    chosen = {name.strip().lower() for name in params.headers}
    return {name: value for name, value in own.items() if name.lower() not in chosen} | params.headers


class _Target(Settings):
    """An address that gives a list."""

    url: Text = setting("URL", example="https://shop.example/orders", min_length=1, place=True)
    query: OpenQuery = setting("Query", {}, help="what stands behind the ?", widget="pairs", place=True)
    headers: OpenHeaders = setting("Headers", {}, widget="pairs")
    items: Text = setting(
        "Where the list is",
        "",
        help="in the answer; empty: the answer is the list",
        example="data.orders",
        place=True,
    )


class Pages(lists.Paging, _Target):
    """A list that comes in pages."""


@http.action("Get all pages of a list", idempotent=True)
def pages(ctx: Context, connection: Access | None, params: Pages) -> Mapping[str, Any]:
    """Calls an address page by page, at most twenty, and gives the items of all pages as one list."""

    def get(page: lists.Page) -> tuple[Answer, Any]:
        url, headers = page.url or params.url, params.headers
        answer, proof = call(
            ctx, connection, "GET", url, headers=headers, query=page.query, deadline_s=page.deadline_s
        )
        return answer, body_of(answer, proof)

    return lists.joined(params, params.query, params.items, get)


class _Keyed(_Target):
    """A list whose items can be told apart."""

    key: Text = setting(
        "What tells items apart",
        "id",
        help="a field of each item; items without it are told apart by all they say",
        place=True,
    )
    newest: Literal["first", "last"] = setting("The newest item is the", "first")


class Watched(polling.Looking, _Keyed):
    """A list to look at again and again."""


@http.poll("New item in a list", every=timedelta(minutes=5))
def new_item(
    ctx: Context,
    connection: Access | None,
    params: Watched,
    cursor: Mapping[str, str] | None,
    recent_keys: list[str],
) -> Batch:
    """Calls an address again and again and starts the rule once for each item that was not in its list before."""
    headers = polling.conditions(cursor) | params.headers
    answer, proof = call(ctx, connection, "GET", params.url, headers=headers, query=params.query)
    if answer.status == 304:
        return Batch([], cursor, recent_keys)
    found = lists.items_at(body_of(answer, proof), params.items)
    return polling.fresh(
        found if params.newest == "first" else found[::-1],
        key=lambda item: lists.key_of(item, params.key),
        data=lambda item: item,
        cursor=cursor,
        next_cursor=polling.marks(answer),
        recent_keys=recent_keys,
        first=params.first,
    )


@http.notice("webhook", by="request")
def notice(told: Notice) -> dict[str, Any]:
    return {"method": "POST", "url": told.to, "json": dict(told.data), "repeat_safe": True}
