"""At most so many calls in any minute: which moment is free next. Pure arithmetic over quarters of a second."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

# A quarter of a second: fine enough to use a limit fully, coarse enough to count instead of listing.
TICKS_A_SECOND = 4
# One more than a minute holds, so that two calls a minute apart are so for the service as well.
SPAN = 60 * TICKS_A_SECOND + 1

Counts = Iterable[Iterable[int]]


def tick_of(moment: datetime) -> int:
    return int(moment.timestamp() * TICKS_A_SECOND)


def instant_of(tick: int) -> datetime:
    return datetime.fromtimestamp(tick / TICKS_A_SECOND, UTC)


@dataclass(slots=True)
class Window:
    """`calls`: tick → calls made then; `turns`: tick → calls that were told to come then."""

    calls: dict[int, int]
    turns: dict[int, int]

    @classmethod
    def of(cls, calls: Counts, turns: Counts, now: int) -> "Window":
        """Without what no longer counts: calls of more than a minute ago, turns that nobody took in time."""
        return cls(
            {tick: count for tick, count in calls if tick > now - SPAN},
            {tick: count for tick, count in turns if tick > now - 5 * TICKS_A_SECOND},
        )

    def recent(self, now: int) -> int:
        """Calls made in the minute up to now."""
        return sum(count for tick, count in self.calls.items() if now - SPAN < tick <= now)

    def call(self, now: int) -> None:
        self.calls[now] = self.calls.get(now, 0) + 1

    def uncall(self, at: int) -> None:
        """The call that began at `at` does not count: it was refused."""
        tick = max((tick for tick in self.calls if tick <= at), default=None)
        if tick is not None:
            _take_one(self.calls, tick)

    def waits(self) -> bool:
        return bool(self.turns)

    def take_turn(self, tick: int) -> None:
        """Whoever was told to come at `tick` is here."""
        _take_one(self.turns, tick)

    def keep_turn(self, tick: int) -> None:
        self.turns[tick] = self.turns.get(tick, 0) + 1

    def room_at(self, now: int, limit: int) -> int:
        """The next tick, `now` or later, at which one more call keeps every minute within the limit."""
        return _free(sorted(self.calls.items()), now, limit)

    def give_turn(self, now: int, limit: int) -> int:
        """As `room_at`, behind all that already have a turn; the turn is taken down."""
        planned = dict(self.calls)
        for tick, count in self.turns.items():
            planned[tick] = planned.get(tick, 0) + count
        last = max(self.turns, default=now)
        tick = _free(sorted(planned.items()), max(now, last), limit)
        self.keep_turn(tick)
        return tick

    def lists(self) -> tuple[list[list[int]], list[list[int]]]:
        return _pairs(self.calls), _pairs(self.turns)


def _free(taken: Iterable[tuple[int, int]], start: int, limit: int) -> int:
    """`taken` in order of time; nothing in it is later than `start` but what happened by a clock set back."""
    window: deque[tuple[int, int]] = deque((tick, count) for tick, count in taken if tick > start - SPAN)
    used = sum(count for _, count in window)
    while window and used >= limit:
        tick, count = window.popleft()
        used -= count
        start = max(start, tick + SPAN)
    return start


def _take_one(counts: dict[int, int], tick: int) -> None:
    if counts.get(tick, 0) > 1:
        counts[tick] -= 1
    else:
        counts.pop(tick, None)


def _pairs(counts: dict[int, int]) -> list[list[int]]:
    return [list(pair) for pair in sorted(counts.items())]
