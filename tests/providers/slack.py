"""Slack's incoming webhooks, as far as their documentation says what they answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.providers.http import Received, Says, StandIn, http_server

PATH = "/services/T0001/B0001/kX9sSecretOfSlack"
# Where an administrator archived the channel after the webhook was made.
ARCHIVED_PATH = "/services/T0001/B0002/kX9sSecretOfSlack"
DISABLED_PATH = "/services/T0001/B0003/kX9sSecretOfSlack"

_FIELDS = {"text", "blocks", "attachments", "thread_ts", "mrkdwn", "unfurl_links", "unfurl_media", "metadata"}


def answer(request: Received) -> Says:
    if request.method != "POST":
        return Says(405)
    if request.path == DISABLED_PATH:
        return Says(404, b"no_service")
    if request.path == ARCHIVED_PATH:
        return Says(410, b"channel_is_archived")
    if request.path != PATH:
        return Says(403, b"invalid_token")
    return _judge(request)


def _judge(request: Received) -> Says:
    if not request.headers.get("content-type", "").startswith("application/json"):
        return Says(400, b"invalid_payload")
    try:
        body = json.loads(request.body)
    except ValueError:
        return Says(400, b"invalid_payload")
    if not isinstance(body, dict) or not body.keys() <= _FIELDS:
        return Says(400, b"invalid_payload")
    if not body.get("text"):
        return Says(400, b"no_text")
    return Says(200, b"ok")


def busy(after_s: int) -> Says:
    return Says(429, b"rate_limited", {"Retry-After": str(after_s)})


@contextmanager
def slack_server() -> Iterator[StandIn]:
    with http_server(answer) as stand_in:
        yield stand_in
