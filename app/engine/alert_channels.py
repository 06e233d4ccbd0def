"""How an alert becomes the params of an action: a mail, a message in a chat, or a call of an address."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app import clock
from app.models import Channel
from app.sdk.declare import Catalogue
from app.sdk.notices import Notice, NoticeWay


@dataclass(frozen=True, slots=True)
class Message:
    action: str
    connection_id: str | None
    params: dict[str, Any]


def ways(catalogue: Catalogue, channel: Channel) -> dict[str, NoticeWay]:
    """By integration, what can send over the channel."""
    return {
        each.key: each.notice_way for each in catalogue if each.notice_way and each.notice_way.kind == channel
    }


def compose(catalogue: Catalogue, alert: Mapping[str, Any], person: Any, public_url: str) -> Message | None:
    """None for a person who looks at Home, or whose way is not to be used now.

    `person` has channel, connection_id, integration, address and email.
    """
    way = _way(catalogue, person)
    if way is None:
        return None
    to = person.address or (person.email if person.channel == Channel.MAIL else "")
    notice = Notice(
        to, f"BitQueue: {alert['title']}"[:200], _text(alert, public_url), _data(alert, public_url)
    )
    connection_id = None if person.channel == Channel.WEBHOOK else person.connection_id
    return Message(way.action, connection_id, way.params(notice))


def _way(catalogue: Catalogue, person: Any) -> NoticeWay | None:
    if person.channel in (None, Channel.NONE):
        return None
    known = ways(catalogue, Channel(person.channel))
    if person.channel == Channel.WEBHOOK:
        return next(iter(known.values()), None) if person.address else None
    return known.get(person.integration)


def link(alert: Mapping[str, Any], public_url: str) -> str:
    """Where it can be looked at."""
    subject = alert["subject_id"] or ""
    if subject.startswith("rul_"):
        return f"{public_url}/rules/{subject}"
    if subject.startswith("con_"):
        return f"{public_url}/connections/{subject}"
    return f"{public_url}/"


def _text(alert: Mapping[str, Any], public_url: str) -> str:
    return (
        f"{alert['sentence']}\n\n{link(alert, public_url)}\n\n"
        f"More of the same within the hour is counted, not sent.\n"
        f"What you are told of: {public_url}/settings/alerts\n"
    )


def _data(alert: Mapping[str, Any], public_url: str) -> dict[str, Any]:
    return {
        "id": alert["id"],
        "kind": str(alert["kind"]),
        "title": alert["title"],
        "sentence": alert["sentence"],
        "subject": alert["subject_id"],
        "at": clock.rfc3339(alert["at"]),
        "url": link(alert, public_url),
    }
