"""A rule as one document: its shape, its limits, and the keys of its steps."""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.errors import InvalidError
from app.models import StepKind
from app.sdk import jsonvalues
from app.sdk.conditions import Match
from app.sdk.fields import sentences

MAX_STEPS: Final = 100
MAX_BYTES: Final = 256 * 1024
MAX_NAME: Final = 100
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")

# What templates see beside the steps' outputs: a step of such a key would read as one of them.
RESERVED_KEYS: Final = frozenset({"event", "rule", "run", "steps", "item"})
# Left out of the document where nothing was chosen.
_UNSAID = ("name", "queue")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _slug(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError("has small letters, digits and _ only, begins with a letter and is at most 40 long")
    return key


Key = Annotated[str, AfterValidator(_slug)]


class TriggerPart(_Part):
    type: str = Field(min_length=1, max_length=100)
    params: dict[str, Any] = {}
    connection: str | None = None


class ActionStep(_Part):
    key: Key
    kind: Literal[StepKind.ACTION] = StepKind.ACTION
    # What the user calls it, where that says more than the action's title.
    name: str | None = Field(default=None, max_length=MAX_NAME)
    action: str = Field(min_length=1, max_length=100)
    connection: str | None = None
    params: dict[str, Any] = {}
    queue: str | None = None


class FilterStep(_Part):
    key: Key
    kind: Literal[StepKind.FILTER]
    name: str | None = Field(default=None, max_length=MAX_NAME)
    # Looked at one by one later: a draft may hold a row that is half filled in.
    conditions: list[dict[str, Any]] = []
    match: Match = Match.ALL


Step = ActionStep | FilterStep
_MODELS: Final[Mapping[str, type[ActionStep] | type[FilterStep]]] = {
    StepKind.ACTION: ActionStep,
    StepKind.FILTER: FilterStep,
}


def _as_step(value: Any) -> Any:
    """Choose the model by `kind`, so that objections name the field and not the alternatives."""
    if not isinstance(value, Mapping):
        raise ValueError("must be an object that describes a step")
    kind = value.get("kind", StepKind.ACTION)
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise ValueError(f"is of a kind that is not known here; use {' or '.join(StepKind)}")
    return model.model_validate(value)


class Definition(_Part):
    """What runs: kept in `rules.draft` and in every version."""

    trigger: TriggerPart
    steps: list[Annotated[Any, BeforeValidator(_as_step)]] = Field(default=[], max_length=MAX_STEPS)

    def as_json(self) -> dict[str, Any]:
        return {"trigger": _given(self.trigger), "steps": [_given(step) for step in self.steps]}


class Document(_Part):
    """A definition with the rule's name and switch: the form of the API and of exports."""

    name: str = Field(min_length=1, max_length=MAX_NAME)
    enabled: bool = False
    definition: Definition


def parse_document(value: Any) -> Document:
    """Raises InvalidError with dotted paths. A step without a key gets one."""
    if not isinstance(value, Mapping):
        raise InvalidError("a rule is a JSON object with name, trigger and steps")
    body = {name: value[name] for name in ("trigger", "steps") if name in value}
    outside = {name: value[name] for name in value if name not in body}
    problems: dict[str, str] = {}
    try:
        head = _Head.model_validate(outside)
    except ValidationError as error:
        problems |= sentences(error)
    try:
        definition = parse(body)
    except InvalidError as error:
        problems |= error.fields
        raise InvalidError(*_summed(error, problems)) from None
    if problems:
        raise InvalidError(summary(problems), problems)
    return Document(name=head.name, enabled=head.enabled, definition=definition)


class _Head(_Part):
    name: str = Field(min_length=1, max_length=MAX_NAME)
    enabled: bool = False


def parse(value: Any) -> Definition:
    """The definition in `value`, checked in form only; raises InvalidError with dotted paths."""
    size_bytes = len(jsonvalues.dumps(value))
    if size_bytes > MAX_BYTES:
        raise InvalidError(
            f"a rule has at most {MAX_BYTES // 1024} KB; this one has {size_bytes // 1024 + 1}"
        )
    try:
        definition = Definition.model_validate(_with_keys(value))
    except ValidationError as error:
        problems = sentences(error)
        raise InvalidError(summary(problems), problems) from None
    problems = _repeated_keys(definition)
    if problems:
        raise InvalidError(summary(problems), problems)
    return definition


def summary(problems: Mapping[str, str]) -> str:
    """The first objection, and how many more there are."""
    path, sentence = next(iter(problems.items()))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{path} {sentence}{more}"


def new_key(title: str, taken: Collection[str]) -> str:
    """`send_mail`, then `send_mail_2`: from the action's title."""
    slug = _NOT_SLUG.sub("_", title.lower()).strip("_")[:32] or "step"
    stem = slug if slug[0].isalpha() and slug not in RESERVED_KEYS else f"step_{slug}"
    number, key = 1, stem
    while key in taken:
        number += 1
        key = f"{stem}_{number}"
    return key


def _summed(error: InvalidError, problems: dict[str, str]) -> tuple[str, dict[str, str]]:
    return (summary(problems) if problems else str(error)), problems


def _given(part: BaseModel) -> dict[str, Any]:
    values = part.model_dump(mode="json")
    return {name: value for name, value in values.items() if name not in _UNSAID or value is not None}


def _with_keys(value: Any) -> Any:
    steps = value.get("steps") if isinstance(value, Mapping) else None
    if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
        return value
    taken = {step["key"] for step in steps if isinstance(step.get("key"), str)}
    keyed = []
    for step in steps:
        key = step.get("key") or new_key(str(step.get("action") or step.get("kind") or "step"), taken)
        keyed.append({**step, "key": key})
        taken |= {key} if isinstance(key, str) else set()
    return {**value, "steps": keyed}


def _repeated_keys(definition: Definition) -> dict[str, str]:
    seen: set[str] = set()
    problems: dict[str, str] = {}
    for index, step in enumerate(definition.steps):
        if step.key in seen:
            problems[f"steps.{index}.key"] = f"is used twice: {step.key}; give each step its own"
        if step.key in RESERVED_KEYS:
            problems[f"steps.{index}.key"] = (
                f"cannot be {step.key}: that name already means something in templates"
            )
        seen.add(step.key)
    return problems
