"""The declaration of an integration: one object a file, from which forms, schemas, docs and tests derive."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar, cast

from app.sdk.context import Context
from app.sdk.fields import Settings
from app.sdk.notices import Notice, NoticeKind, NoticeWay
from app.sdk.samples import Sample, samples_beside

__all__ = [
    "Action", "Batch", "Catalogue", "Context", "InboundRequest", "Integration", "Need", "NoSettings", "Occurrence",
    "Reply", "Sample", "Trigger", "TriggerSort",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
Given_co = TypeVar("Given_co", covariant=True)
Confirm = Callable[[Context, Any, Any, datetime], Mapping[str, Any] | None]
Need = Literal["required", "optional", "none"]
TriggerSort = Literal["hook", "slots", "poll", "manual"]


class NoSettings(Settings):
    """The params of what needs none."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened outside: `key` is the same however often it is delivered (None: no such key)."""

    key: str | None
    data: Any


@dataclass(frozen=True, slots=True)
class InboundRequest:
    """A call to a hook as it arrived. Header names are lower case."""

    method: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    received_at: datetime
    # The address that the caller used, as the operator published it: some signatures cover it.
    url: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a hook answers at once instead of the usual 202, storing no event (a provider's handshake)."""

    body: str
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Batch:
    """What a poll found: occurrences in order, where it got to, and the keys to remember."""

    occurrences: list[Occurrence]
    cursor: Any
    recent_keys: list[str]


@dataclass(frozen=True, slots=True)
class Action:
    """What an integration can do. `idempotent` may depend on the params; a key lets the provider drop repeats."""

    key: str
    title: str
    description: str
    params: type[Settings]
    call: Callable[..., Mapping[str, Any]]
    idempotent: bool | Callable[[Any], bool]
    samples: tuple[Sample, ...]
    need: Need
    # Asks the provider whether a call was done, where one that must not be repeated may have been.
    confirm: Confirm | None = None

    def is_repeatable(self, params: Settings) -> bool:
        return self.idempotent(params) if callable(self.idempotent) else self.idempotent


class Declared(Protocol, Generic[P, Given_co]):
    """An action's function, as it was written."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Given_co: ...

    def confirm(self, function: F) -> F:
        """Declares `(ctx, connection, params, since) -> dict | None` for an action that may not be repeated.

        It gives the output when the call with this `ctx.idempotency_key` was done after `since`, None when it
        surely was not, and raises TemporaryError when that cannot be told. It changes nothing there.
        """
        ...


@dataclass(frozen=True, slots=True)
class Trigger:
    """What can start a rule. `samples` are event data as they would arrive."""

    key: str
    sort: TriggerSort
    title: str
    description: str
    params: type[Settings]
    call: Callable[..., Any] | None
    samples: tuple[Mapping[str, Any], ...]
    need: Need
    every: timedelta | None = None
    # What a hook answers where the provider wants something else than our JSON.
    answer: Reply | None = None


@dataclass(slots=True)
class Integration:
    """A supported service. `module` is the file's `__name__`, whose last part is the key.

    Samples are data: `samples/<key>.json` beside the file, by the name of the function, unless given to it.
    """

    module: str
    title: str
    about: str
    need: Need = "required"
    # Where it stands among what is offered: the lower, the earlier.
    rank: int = 100
    key: str = field(init=False)
    settings: type[Settings] | None = field(default=None, init=False)
    notice_way: NoticeWay | None = field(default=None, init=False)
    check_call: Callable[[Context, Any], str] | None = field(default=None, init=False)
    actions: dict[str, Action] = field(default_factory=dict, init=False)
    triggers: dict[str, Trigger] = field(default_factory=dict, init=False)
    _samples: Mapping[str, list[dict[str, Any]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.key = self.module.rpartition(".")[2]
        self._samples = samples_beside(self.module)

    def connection(self, model: type[Settings]) -> type[Settings]:
        """Declares the fields of the account; the docstring tells how to connect."""
        self.settings = model
        return model

    def check(self, function: F) -> F:
        """Declares `(ctx, connection) -> str`: a cheap, harmless call that proves the credentials."""
        self.check_call = function
        return function

    def notice(
        self, kind: NoticeKind, *, by: str, addressed: bool = True
    ) -> Callable[[Callable[[Notice], dict[str, Any]]], Callable[[Notice], dict[str, Any]]]:
        """Declares `(notice) -> params` of the action `by`, with which the server itself tells people something."""

        def declare(function: Callable[[Notice], dict[str, Any]]) -> Callable[[Notice], dict[str, Any]]:
            self.notice_way = NoticeWay(kind, self.actions[by].key, addressed, function)
            return function

        return declare

    def action(
        self,
        title: str,
        *,
        idempotent: bool | Callable[[Any], bool],
        samples: Iterable[Sample] | None = None,
        need: Need | None = None,
    ) -> Callable[[Callable[P, Given_co]], Declared[P, Given_co]]:
        """Declares `(ctx, connection, params) -> dict`; the docstring is what the user reads."""

        def declare(function: Callable[P, Given_co]) -> Declared[P, Given_co]:
            name, about = _named(function)
            beside = (Sample(**one) for one in self._samples.get(name, ()))
            self.actions[name] = Action(
                key=f"{self.key}.{name}",
                title=title,
                description=about,
                params=_params_model(function),
                call=cast(Callable[..., Mapping[str, Any]], function),
                idempotent=idempotent,
                samples=tuple(beside if samples is None else samples),
                need=self._need(need),
            )
            declared = cast(Declared[P, Given_co], function)
            vars(function)["confirm"] = self._confirm(name)
            return declared

        return declare

    def _confirm(self, name: str) -> Callable[[F], F]:
        def declare(function: F) -> F:
            self.actions[name] = replace(self.actions[name], confirm=function)
            return function

        return declare

    def hook(
        self,
        title: str,
        *,
        samples: Iterable[Mapping[str, Any]] | None = None,
        need: Need | None = None,
        answer: Reply | None = None,
    ) -> Callable[[F], F]:
        """Declares `(request, connection, params) -> Iterable[Occurrence] | Reply`.

        It verifies the provider's signature itself and raises RefusedError where that fails. `answer` is
        said instead of our JSON once the event is stored.
        """
        return self._trigger("hook", title, samples, need, answer=answer)

    def poll(
        self,
        title: str,
        *,
        every: timedelta,
        samples: Iterable[Mapping[str, Any]] | None = None,
        need: Need | None = None,
    ) -> Callable[[F], F]:
        """Declares `(ctx, connection, params, cursor, recent_keys) -> Batch`."""
        return self._trigger("poll", title, samples, need, every=every)

    def slots(self, title: str, *, samples: Iterable[Mapping[str, Any]] | None = None) -> Callable[[F], F]:
        """Declares `(params, after) -> datetime | None`: the next slot strictly after an instant."""
        return self._trigger("slots", title, samples, "none")

    def manual(self, title: str, *, samples: Iterable[Mapping[str, Any]] | None = None) -> Callable[[F], F]:
        """Declares `(params) -> None`, started by a person."""
        return self._trigger("manual", title, samples, "none")

    def _trigger(
        self,
        sort: TriggerSort,
        title: str,
        samples: Iterable[Mapping[str, Any]] | None,
        need: Need | None,
        *,
        every: timedelta | None = None,
        answer: Reply | None = None,
    ) -> Callable[[F], F]:
        def declare(function: F) -> F:
            name, about = _named(function)
            self.triggers[name] = Trigger(
                key=f"{self.key}.{name}",
                sort=sort,
                title=title,
                description=about,
                params=_params_model(function),
                call=function,
                samples=tuple(self._samples.get(name, ()) if samples is None else samples),
                need=self._need(need),
                every=every,
                answer=answer,
            )
            return function

        return declare

    def _need(self, need: Need | None) -> Need:
        return need or (self.need if self.settings else "none")


def _named(function: Callable[..., Any]) -> tuple[str, str]:
    return function.__name__.rstrip("_"), inspect.cleandoc(function.__doc__ or "")


def _params_model(function: Callable[..., Any]) -> type[Settings]:
    model = inspect.get_annotations(function, eval_str=True).get("params", NoSettings)
    if not (isinstance(model, type) and issubclass(model, Settings)):
        raise TypeError(f"params of {function.__qualname__} must be annotated with a Settings model")
    return model


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All integrations by key, and their actions and triggers by `<integration>.<function>`."""

    integrations: Mapping[str, Integration]

    def action(self, key: str) -> Action | None:
        integration, _, name = key.partition(".")
        found = self.integrations.get(integration)
        return found.actions.get(name) if found else None

    def trigger(self, key: str) -> Trigger | None:
        integration, _, name = key.partition(".")
        found = self.integrations.get(integration)
        return found.triggers.get(name) if found else None

    def __iter__(self) -> Iterator[Integration]:
        return iter(self.integrations.values())
