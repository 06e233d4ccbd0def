"""Whatever comes when, no minute has more calls than the limit, and a limit that is wanted is used."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from app.engine.window import SPAN, Window

MINUTE = SPAN - 1


def most_in_a_minute(calls: list[int]) -> int:
    window: deque[int] = deque()
    most = 0
    for tick in sorted(calls):
        window.append(tick)
        while window[0] <= tick - MINUTE:
            window.popleft()
        most = max(most, len(window))
    return most


@given(st.integers(1, 30), st.lists(st.integers(0, 1200), max_size=150))
def test_calls_that_wait_for_room_never_pass_the_limit(limit, arrivals):
    window = Window({}, {})
    made = []
    for arrival in sorted(arrivals):
        now = max([arrival, *made])
        free = window.room_at(now, limit)
        window.call(free)
        made.append(free)

    assert most_in_a_minute(made) <= limit


@given(st.integers(1, 30), st.lists(st.integers(0, 1200), max_size=150))
def test_turns_are_given_in_order_and_never_pass_the_limit(limit, arrivals):
    window = Window({}, {})

    turns = [window.give_turn(arrival, limit) for arrival in sorted(arrivals)]

    assert turns == sorted(turns)
    assert most_in_a_minute(turns) <= limit


def test_with_more_work_than_it_takes_a_limit_is_used_in_full():
    window = Window({}, {})

    turns = [window.give_turn(0, 60) for _ in range(600)]

    assert 600 / (turns[-1] / MINUTE + 1) >= 0.99 * 60


def test_what_happened_long_ago_is_forgotten():
    window = Window.of([[10, 3], [MINUTE, 2]], [[5, 1], [MINUTE + 30, 4]], MINUTE + 12)

    assert window.lists() == ([[MINUTE, 2]], [[MINUTE + 30, 4]])


def test_a_turn_is_taken_once():
    window = Window({}, {8: 2})

    window.take_turn(8)
    window.take_turn(8)
    window.take_turn(8)

    assert window.turns == {}
