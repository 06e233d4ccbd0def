"""The generator: sends events as a careful caller does, and remembers each for which it got a 2xx."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

# Who sends one event waits at most so long for its 2xx.
_PATIENCE_S = 120.0
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Lane:
    """Where events of one kind go. `repeatable`: the provider drops repeats of a key."""

    name: str
    url: str
    headers: Mapping[str, str]
    repeatable: bool
    # What is posted for one order; the text ORDER in it stands for the order.
    body: Mapping[str, Any]
    is_task: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """An event that was acknowledged: how, when, after how many tries."""

    order: str
    lane: Lane
    answer: Mapping[str, Any]
    at_s: float
    tries: int


class Generator:
    """`count` events over the lanes in turn, about `rate` a second; the same key until it is acknowledged."""

    def __init__(self, lanes: Sequence[Lane], *, count: int, rate: float, senders: int = 4) -> None:
        self.count = count
        self.sent: list[Sent] = []
        # Status, or the name of the exception: how often. All but 2xx is a call that failed.
        self.answers: Counter[str] = Counter()
        self.latencies_s: list[float] = []
        self.given_up: list[str] = []
        self._lanes, self._rate, self._senders = lanes, rate, senders
        self._next = iter(range(count))
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send_all, daemon=True) for _ in range(senders)]

    def start(self) -> "Generator":
        for thread in self._threads:
            thread.start()
        return self

    def join(self, seconds: float = 600) -> None:
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            raise AssertionError(f"the events could not be sent within {seconds:.0f} s: {dict(self.answers)}")

    @property
    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    @property
    def failures(self) -> dict[str, int]:
        return {name: count for name, count in self.answers.items() if not name.startswith("2")}

    def _send_all(self) -> None:
        with httpx2.Client(timeout=20) as caller:
            while True:
                with self._lock:
                    number = next(self._next, None)
                if number is None:
                    return
                began = time.monotonic()
                self._send(caller, number)
                time.sleep(max(0.0, self._senders / self._rate - (time.monotonic() - began)))

    def _send(self, caller: httpx2.Client, number: int) -> None:
        lane = self._lanes[number % len(self._lanes)]
        order = f"{lane.name}-{number}"
        until = time.monotonic() + _PATIENCE_S
        tries = 0
        while time.monotonic() < until:
            tries += 1
            if answer := self._try(caller, lane, order):
                with self._lock:
                    self.sent.append(Sent(order, lane, answer, time.time(), tries))
                return
            time.sleep(_PAUSE_S)
        self.given_up.append(order)

    def _try(self, caller: httpx2.Client, lane: Lane, order: str) -> Mapping[str, Any] | None:
        began = time.monotonic()
        try:
            answer = caller.post(
                lane.url, json=_filled(lane.body, order), headers={**lane.headers, "Idempotency-Key": order}
            )
        except httpx2.HTTPError as error:
            self._note(type(error).__name__, began)
            return None
        self._note(str(answer.status_code), began)
        if answer.is_success:
            given: Mapping[str, Any] = answer.json()
            return given
        return None

    def _note(self, what: str, began: float) -> None:
        with self._lock:
            self.answers[what] += 1
            self.latencies_s.append(time.monotonic() - began)


def _filled(value: Any, order: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(each, order) for name, each in value.items()}
    return order if value == "ORDER" else value
