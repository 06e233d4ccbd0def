"""Looking in Slack whether a message is there: each carries the key of its task, which no person sees."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import SecretStr

from app.sdk import slack
from app.sdk.context import Context
from app.sdk.errors import TemporaryError

# https://docs.slack.dev/messaging/message-metadata
_KIND: Final = "bitqueue_task"
_PAGES: Final = 5
_A_PAGE: Final = 200
# Conversations; a person's id, or a #name, names none to look into.
_PLACES: Final = ("C", "D", "G")


def marked(ctx: Context) -> dict[str, Any] | None:
    """The metadata of a message that is to be found again."""
    key = ctx.idempotency_key
    return {"event_type": _KIND, "event_payload": {"key": key}} if key else None


def find(
    ctx: Context, token: SecretStr, channel: str, since: datetime, *, thread: str = ""
) -> dict[str, Any] | None:
    """The output of the action that posted the message of this task; None when it is not there.

    Raises TemporaryError where Slack cannot tell. The app needs channels:history, or groups:history and the like.
    """
    if not channel.startswith(_PLACES):
        raise TemporaryError(f"slack finds messages by a channel's id only, not by {channel}")
    cursor = ""
    for _ in range(_PAGES):
        page = _page(
            ctx, token, {"channel": channel, "ts": thread, "oldest": f"{since.timestamp():.6f}"}, cursor
        )
        for message in page.get("messages") or []:
            if _is_ours(ctx, message):
                return {
                    "channel": channel,
                    "ts": message["ts"],
                    "thread": message.get("thread_ts") or message["ts"],
                }
        cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
        if not cursor:
            return None
    raise TemporaryError(f"more was written in {channel} meanwhile than slack tells")


def _page(ctx: Context, token: SecretStr, place: Mapping[str, str], cursor: str) -> Any:
    method = "conversations_replies" if place["ts"] else "conversations_history"
    more: dict[str, Any] = {"include_all_metadata": True, "limit": _A_PAGE, "cursor": cursor}
    return slack.call(ctx, token, method, place, **place, **more)


def _is_ours(ctx: Context, message: Mapping[str, Any]) -> bool:
    metadata = message.get("metadata") or {}
    payload = metadata.get("event_payload") or {}
    return metadata.get("event_type") == _KIND and payload.get("key") == ctx.idempotency_key
