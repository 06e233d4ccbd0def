"""Adaptive Cards: a message as Microsoft's programs show it, in which values are text and no markup."""

from collections.abc import Mapping
from typing import Any, Final

MEDIA_TYPE: Final = "application/vnd.microsoft.card.adaptive"
_SCHEMA: Final = "http://adaptivecards.io/schemas/adaptive-card.json"
_MOST_LINES: Final = 100


def card(
    body: list[dict[str, Any]], *, fallback: str, link: str = "", link_title: str = ""
) -> dict[str, Any]:
    """A card of these blocks; `fallback` is what notifications show, `link` is where its button leads."""
    made: dict[str, Any] = {"$schema": _SCHEMA, "type": "AdaptiveCard", "version": "1.5", "body": body}
    made["fallbackText"] = fallback
    if link:
        made["actions"] = [{"type": "Action.OpenUrl", "title": link_title or "Open", "url": link}]
    return made


def lines(text: str, *, markup: bool, **style: str) -> list[dict[str, Any]]:
    """A run of text knows no markdown, and no line breaks either: https://adaptivecards.io/explorer/TextRun.html"""
    if markup and text:
        return [{"type": "TextBlock", "text": text, "wrap": True, **style}]
    found = text.splitlines()
    if len(found) > _MOST_LINES:
        found = [*found[: _MOST_LINES - 1], " ".join(found[_MOST_LINES - 1 :])]
    blocks = [runs({"text": line or " ", **style}) for line in found]
    return [*blocks[:1], *({**block, "spacing": "None"} for block in blocks[1:])]


def runs(*parts: Mapping[str, str]) -> dict[str, Any]:
    """One line of parts, each in a style of its own."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", **part} for part in parts]}
