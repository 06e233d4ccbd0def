"""Notion's API: calling it, finding what a link means, and its refusals."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, SecretStr

from app.sdk import values
from app.sdk.answers import Answer
from app.sdk.context import Context
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.said import is_later, json_object, not_now, sentence

_NOTION: Final = "https://api.notion.com"
_VERSION: Final = "2025-09-03"
_DEADLINE_S: Final = 30.0
_ID: Final = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)


def _is_link(text: str) -> str:
    """The id at the end of the path: what stands behind `?v=` is only a view."""
    found = _ID.findall(text.strip().partition("?")[0])
    if not found:
        raise ValueError("must be a link to it, or its id of 32 letters and digits")
    return str(UUID(found[-1]))


Link: TypeAlias = Annotated[str, BeforeValidator(values.text), AfterValidator(_is_link)]


class NotFoundHereError(RejectedError):
    """Notion does not know it, or it was not shared with the integration."""


def call(
    ctx: Context,
    token: SecretStr,
    method: str,
    path: str,
    *,
    json: Any = None,
    named: str = "what was asked for",
    reads: bool = False,
) -> Mapping[str, Any]:
    """`named` is how a sentence speaks of the target; what only reads may be tried again in any case."""
    headers = {"Authorization": f"Bearer {token.get_secret_value()}", "Notion-Version": _VERSION}
    url = ctx.placed(f"{_NOTION}/v1/{path}")
    more = {} if json is None else {"json": json}
    try:
        answer = ctx.http.request(
            method, url, headers=headers, deadline_s=_DEADLINE_S, follow_redirects=False, **more
        )
        said = json_object(answer)
        if answer.status == 200 and said:
            return said
        raise _failure(ctx, answer, said, named)
    except TemporaryError as error:
        error.sent = error.sent and not reads
        raise


def _failure(ctx: Context, answer: Answer, said: Mapping[str, Any], named: str) -> IntegrationError:
    """https://developers.notion.com/reference/status-codes"""
    if answer.status == 401:
        return AuthError(
            "notion no longer accepts this token (401); copy it again from notion.so/profile/integrations"
        )
    if answer.status == 403:
        return AuthError(
            "the notion integration may not do this (403); give it the capability under notion.so/profile/integrations"
        )
    if answer.status == 404:
        return NotFoundHereError(
            f"notion does not know {named}, or it is not shared with the integration; add that under ⋯ → connections"
        )
    if answer.status == 409:
        return TemporaryError("notion was changing it at the same time (409)", sent=False)
    if is_later(answer):
        return not_now("notion", answer, ctx.now)
    if answer.status < 400:
        return TemporaryError(f"notion answered in an unknown way ({answer.status})")
    return RejectedError(f"notion did not take this: {sentence(said.get('message'))} ({answer.status})")


def data_source(ctx: Context, token: SecretStr, database: str, name: str = "") -> Mapping[str, Any]:
    """The table of a database, with its columns; of several the one of that name. `database` may be its own id."""
    try:
        found = call(ctx, token, "GET", f"databases/{database}", named=f"the database {database}", reads=True)
    except NotFoundHereError:
        return call(
            ctx, token, "GET", f"data_sources/{database}", named=f"the database {database}", reads=True
        )
    sources = [each for each in found.get("data_sources", []) if isinstance(each, dict)]
    chosen = [each for each in sources if not name or str(each.get("name", "")).casefold() == name.casefold()]
    if len(chosen) != 1:
        names = ", ".join(str(each.get("name")) for each in sources)[:200] or "none"
        raise RejectedError(f"the database has the data sources {names}; name one of them")
    return call(ctx, token, "GET", f"data_sources/{chosen[0]['id']}", named="the data source", reads=True)
