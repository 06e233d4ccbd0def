"""The manual of an integration, derived from its declaration: nothing about any one of them is written here."""

import inspect
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.sdk.declare import Action, Catalogue, Integration, Trigger
from app.sdk.fields import is_secret
from app.web import fields, oauth
from app.web.filters import sentence

_STARTED_BY = {
    "hook": "the service calls the rule's address",
    "poll": "looks regularly, {}",
    "slots": "at the times you set",
    "manual": "a person presses a button",
}
_ACCOUNT = {
    "required": "a connection is needed",
    "optional": "works with or without a connection",
    "none": "no connection is needed",
}
_KINDS = {
    "checkbox": "yes or no",
    "number": "a number",
    "pairs": "names and values",
    "list": "a list",
    "datetime": "a date and time",
    "code": "JSON, or a value of an earlier step",
}


def cards(catalogue: Catalogue, wanted: str) -> list[dict[str, Any]]:
    """Those in which every word of `wanted` occurs, by title."""
    words = wanted.casefold().split()
    found = [each for each in catalogue if all(word in _searched(each) for word in words)]
    return [_card(each) for each in sorted(found, key=lambda each: each.title.casefold())]


def manual(integration: Integration) -> dict[str, Any]:
    """For help/integration.html."""
    return _card(integration) | {
        "connect": _connect(integration),
        "triggers": [_trigger(each) for each in integration.triggers.values()],
        "actions": [_action(each) for each in integration.actions.values()],
    }


def _card(integration: Integration) -> dict[str, Any]:
    return {
        "key": integration.key,
        "title": integration.title,
        "text": sentence(integration.about),
        "triggers_count": len(integration.triggers),
        "actions_count": len(integration.actions),
    }


def _searched(integration: Integration) -> str:
    parts = (*integration.actions.values(), *integration.triggers.values())
    words = [integration.key, integration.title, integration.about, *(part.title for part in parts)]
    return " ".join(words).casefold()


def _connect(integration: Integration) -> dict[str, Any] | None:
    if integration.settings is None:
        return None
    check = inspect.cleandoc(integration.check_call.__doc__ or "") if integration.check_call else ""
    return {
        "how": inspect.cleandoc(integration.settings.__doc__ or ""),
        "fields": field_rows(integration.settings),
        "oauth": oauth.explained(integration.settings, integration.key),
        "check": check.partition("\n\n")[0],
    }


def _trigger(trigger: Trigger) -> dict[str, Any]:
    every = (
        f"at most every {_span(trigger.every.total_seconds())}" if trigger.every else "as often as you say"
    )
    return _part(trigger) | {
        "notes": [sentence(_STARTED_BY[trigger.sort].format(every)), *_account_note(trigger.need)],
        "samples": [{"title": "An event", "value": sample} for sample in trigger.samples[:1]],
    }


def _action(action: Action) -> dict[str, Any]:
    return _part(action) | {
        "notes": [*_account_note(action.need), *_repeated(action)],
        "samples": [
            {"title": title, "value": value}
            for sample in action.samples[:1]
            for title, value in (("Goes in", sample.params), ("Comes out", sample.output))
        ],
    }


def _part(part: Action | Trigger) -> dict[str, Any]:
    paragraphs = (" ".join(text.split()) for text in part.description.split("\n\n"))
    return {
        "key": part.key,
        "anchor": part.key.rpartition(".")[2],
        "title": part.title,
        "paragraphs": [text for text in paragraphs if text],
        "fields": field_rows(part.params),
    }


def _account_note(need: str) -> Iterable[str]:
    return [sentence(_ACCOUNT[need])]


def _repeated(action: Action) -> Iterable[str]:
    """What a person must know before a retry; where nobody else is spoken to, nothing."""
    if callable(action.idempotent):
        return ["Whether it may be repeated by itself depends on what it is given."]
    if not action.idempotent:
        return ["It is never done twice without asking you."]
    return ["It is tried again by itself when the other side is down."] if action.need != "none" else []


def field_rows(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Each field with its words; its name is how programs and templates call it."""
    shown = oauth.typed_only(model, fields.show(model, {}))
    return [_row(each, model.model_fields[each["name"].removeprefix(fields.PREFIX)]) for each in shown]


def _row(shown: dict[str, Any], info: FieldInfo) -> dict[str, Any]:
    return {
        "name": shown["name"].removeprefix(fields.PREFIX),
        "label": shown["label"],
        "optional": not info.is_required(),
        "notes": [text for text in _notes(shown, info) if text],
        "example": _example(shown, info),
    }


def _example(shown: dict[str, Any], info: FieldInfo) -> str | None:
    """None where it tells nothing: a secret's, a tick's, and one that is what stands there anyway."""
    if is_secret(info) or shown["kind"] == "checkbox" or shown["example"] == str(info.default):
        return None
    example: str | None = shown["example"]
    return example


def _notes(shown: dict[str, Any], info: FieldInfo) -> Iterable[str | None]:
    yield shown["help"]
    yield f"Where to find it: {_lowered(shown['where'])}" if shown["where"] else None
    kind = "list" if fields.kind_of(info) == "list" else shown["kind"]
    # Time zones have a list of their own.
    if shown["choices"] and len(shown["choices"]) <= 20:
        yield sentence("one of: " + ", ".join(choice["label"] for choice in shown["choices"]))
    elif kind in _KINDS and not shown["help"]:
        yield sentence(_KINDS[kind])
    if is_secret(info):
        yield "Kept sealed and never shown again."
    elif (
        info.default is not True and info.default is not False and isinstance(info.default, str | int | float)
    ):
        yield sentence(f"without it: {info.default}") if info.default != "" else None


def _lowered(text: str) -> str:
    """`Under security.` after other words; names such as `API keys` keep their letters."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} seconds"
    minutes = round(seconds / 60)
    return "minute" if minutes == 1 else f"{minutes} minutes"
