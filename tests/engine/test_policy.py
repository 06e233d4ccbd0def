import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine import policy

parts = st.floats(0, 1, exclude_max=True)


def test_eight_attempts_take_about_three_hours():
    pauses = [policy.pause_s(attempt, random_part=0.5) for attempt in range(1, policy.MAX_ATTEMPTS)]

    assert 2 * 3600 < sum(pauses) < 4 * 3600
    assert pauses == sorted(pauses)


def test_no_chance_uses_all_attempts_up_while_a_service_is_away_for_ten_minutes():
    shortest = [policy.pause_s(attempt, random_part=0.0) for attempt in range(1, policy.MAX_ATTEMPTS)]

    assert sum(shortest) > 30 * 60


@given(attempt=st.integers(1, 100_000), part=parts)
def test_a_pause_is_never_negative_nor_longer_than_a_day(attempt, part):
    assert 0 <= policy.pause_s(attempt, random_part=part) <= 24 * 3600


@given(attempt=st.integers(1, 1000), after_s=st.floats(0, 24 * 3600), part=parts)
def test_a_service_is_never_asked_again_sooner_than_it_said(attempt, after_s, part):
    assert policy.pause_s(attempt, after_s=after_s, random_part=part) >= after_s


@given(after_s=st.floats())
def test_any_number_a_service_says_gives_a_pause_of_two_days_at_most(after_s):
    assert 0 <= policy.pause_s(1, after_s=after_s) <= 48 * 3600


@pytest.mark.parametrize("attempt", [1, 4])
def test_pauses_are_spread(attempt):
    assert len({policy.pause_s(attempt) for _ in range(20)}) > 15
