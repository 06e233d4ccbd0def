"""What every AI service has in common: limits, prices, answers paid for once, and answers that fit a schema."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from app.sdk import jsonvalues, schemas
from app.sdk.context import Context, Limits
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting

Request = Mapping[str, Any]

_DATED: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_MICROS: Final = 1_000_000


def _most(title: str, example: float | None = None, help: str = "the most; empty: no limit") -> Any:
    return setting(title, None, help=help, example=example, ge=0)


class Allowance(Settings):
    """The most an account may use. Days and months are counted in UTC."""

    calls_a_day: int | None = _most("Calls a day", 500)
    tokens_a_day: int | None = _most(
        "Tokens a day", help="the most; counted when an answer is there: what is under way then may pass it"
    )
    dollars_a_day: float | None = _most("US dollars a day", 2.5, "the most; counted as tokens are")
    calls_a_month: int | None = _most("Calls a month")
    tokens_a_month: int | None = _most("Tokens a month")
    dollars_a_month: float | None = _most("US dollars a month", 25)

    def limits(self) -> Limits:
        return Limits(
            calls_a_day=self.calls_a_day,
            tokens_a_day=self.tokens_a_day,
            micros_a_day=_in_micros(self.dollars_a_day),
            calls_a_month=self.calls_a_month,
            tokens_a_month=self.tokens_a_month,
            micros_a_month=_in_micros(self.dollars_a_month),
        )


class StepOptions(Settings):
    """What every AI step may say for itself."""

    skip_when_off: bool = setting(
        "Skip this step when no AI is connected",
        False,
        help="the rule then goes on with the text below; otherwise the step fails and says why",
    )
    fallback: Text = setting("Text when skipped", "", help="what the step gives instead of an answer")
    calls_a_day: int | None = _most("Calls a day of this rule")
    dollars_a_month: float | None = _most("US dollars a month of this rule")

    def limits(self) -> Limits:
        return Limits(calls_a_day=self.calls_a_day, micros_a_month=_in_micros(self.dollars_a_month))


def _in_micros(dollars: float | None) -> int | None:
    return None if dollars is None else round(dollars * _MICROS)


def without_ai(options: StepOptions, service: str) -> dict[str, Any]:
    """What a step gives that has no connection. Raises RejectedError unless it is to be skipped."""
    if options.skip_when_off:
        return {"skipped": True, "text": options.fallback}
    raise RejectedError(
        f"no AI is connected to this step; add your {service} key under connections and choose it in the step, "
        "or tick that it is skipped when no AI is connected"
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered and what it took; `tokens_cached` are those of `tokens_in` that cost less."""

    text: str
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    # Why there is no answer, in the model's own words.
    declined: str = ""
    # The answer ended where the longest one allowed ends.
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens, which is millionths of a dollar for one."""

    input: float
    cached: float
    output: float

    def micros(self, reply: Reply) -> int:
        fresh = reply.tokens_in - reply.tokens_cached
        cost = fresh * self.input + reply.tokens_cached * self.cached + reply.tokens_out * self.output
        return math.ceil(round(cost, 6))


@dataclass(frozen=True, slots=True)
class PriceList:
    """What each model costs, as a data file has it."""

    prices: Mapping[str, Price]

    def price(self, model: str) -> Price | None:
        """Of a model or of a dated version of it; None where nobody knows."""
        return self.prices.get(model) or self.prices.get(_DATED.sub("", model))

    @property
    def dearest(self) -> Price:
        """What is counted for a model without a price: a limit must not be passed for want of a number."""
        return max(self.prices.values(), key=lambda price: (price.output, price.input))


@lru_cache
def price_list(path: Path) -> PriceList:
    """`{"models": {"name": {"input", "cached", "output"}}}`, in US dollars for a million tokens."""
    models = json.loads(path.read_text(encoding="utf-8"))["models"]
    return PriceList({name: Price(**price) for name, price in models.items()})


@dataclass(slots=True)
class Till:
    """The calls of one task: each is allowed by the limits, paid for once, kept and counted.

    `call` sends a request as the service wants it; `messages` is the one member that this file knows.
    """

    ctx: Context
    account: Limits
    rule: Limits
    prices: PriceList
    call: Callable[[Request], Reply]
    free: bool = False
    replies: list[Reply] = field(default_factory=list)
    warning: str | None = None
    _names: list[str] = field(default_factory=list)

    def ask(self, request: Request) -> Reply:
        """Raises RejectedError when a limit is reached or the model declines."""
        reply = self._paid(request)
        self.replies.append(reply)
        if reply.declined:
            self._forget()
            raise RejectedError(f"the model declined to answer: {_short(reply.declined)}")
        return reply

    def ask_for(self, request: Request, schema: Mapping[str, Any]) -> Any:
        """The data of an answer that fits; one that does not is asked for again, once, with what is wrong."""
        wrong: str | None = None
        for _ in range(2):
            reply = self.ask(request)
            data, wrong = schemas.read(reply.text, schema)
            if wrong is None:
                return data
            request = {**request, "messages": [*request["messages"], *_objecting(reply.text, wrong)]}
        self._forget()
        raise RejectedError(
            f"the answer did not fit what was asked for, twice ({wrong}); word the question differently"
        )

    def _paid(self, request: Request) -> Reply:
        """The reply that an earlier attempt of the task got, if there is one.

        A task counts a request once, however often it has to be tried.
        """
        name = "ai-" + hashlib.sha256(jsonvalues.dumps(request).encode()).hexdigest()[:32]
        self._names.append(name)
        kept = self.ctx.memory.recall(name)
        if kept is None:
            kept = {"warning": self.ctx.meter.reserve(self.account, self.rule)}
            self.ctx.memory.keep(name, kept)
        self.warning = kept["warning"] or self.warning
        if "reply" in kept:
            return Reply(**kept["reply"])
        reply = self.call(request)
        # At once: if this worker dies from here on, the next one finds the answer and pays nothing.
        self.ctx.memory.keep(name, kept | {"reply": asdict(reply)})
        self.ctx.meter.record(tokens=reply.tokens_in + reply.tokens_out, micros=self._counted(reply))
        return reply

    def _forget(self) -> None:
        """Answers that are of no use must not be found by whoever runs the task again."""
        for name in self._names:
            self.ctx.memory.keep(name, None)

    def receipt(self) -> dict[str, Any]:
        """What the task took: part of its output."""
        receipt: dict[str, Any] = {
            "model": self.replies[-1].model,
            "tokens_in": sum(reply.tokens_in for reply in self.replies),
            "tokens_out": sum(reply.tokens_out for reply in self.replies),
            "cost_usd": self._cost(),
        }
        return receipt | ({"warning": self.warning} if self.warning else {})

    def _cost(self) -> float | None:
        if self.free:
            return 0.0
        prices = [self.prices.price(reply.model) for reply in self.replies]
        if None in prices:
            return None
        paid = zip(prices, self.replies, strict=True)
        return sum(price.micros(reply) for price, reply in paid if price) / _MICROS

    def _counted(self, reply: Reply) -> int:
        return 0 if self.free else (self.prices.price(reply.model) or self.prices.dearest).micros(reply)


def _objecting(answer: str, wrong: str) -> list[Mapping[str, str]]:
    again = f"This cannot be used: {wrong}. Answer again, with JSON alone that fits."
    return [{"role": "assistant", "content": answer}, {"role": "user", "content": again}]


def _short(words: str) -> str:
    return " ".join(words.split())[:200].rstrip(".")
