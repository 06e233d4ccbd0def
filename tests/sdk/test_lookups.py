import threading
import time

import pytest

from app.sdk.lookups import Lookups

FOUND = [("an address",)]


class Slow:
    """A resolver that answers when it is let, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked, self.let = [], threading.Event()

    def __call__(self, name, port):
        self.asked.append((name, port))
        self.let.wait(5)
        return FOUND


@pytest.fixture
def slow():
    resolver = Slow()
    yield resolver
    resolver.let.set()


def late(lookups, resolver, name="hangs.example"):
    with pytest.raises(TimeoutError):
        lookups.within(0.01, resolver, name, 443)


def test_a_name_that_hangs_is_looked_up_once_however_often_it_is_asked_for(slow):
    lookups = Lookups()

    for _ in range(20):
        late(lookups, slow)

    assert slow.asked == [("hangs.example", 443)]


def test_who_asks_while_a_look_up_is_under_way_gets_its_answer(slow):
    lookups = Lookups()
    late(lookups, slow)

    threading.Timer(0.05, slow.let.set).start()

    assert lookups.within(5, slow, "hangs.example", 443) == FOUND
    assert len(slow.asked) == 1


def test_another_name_does_not_wait_for_one_that_hangs(slow):
    lookups = Lookups()
    late(lookups, slow)
    began = time.monotonic()

    assert lookups.within(5, lambda name, port: FOUND, "hangs.example", 443) == FOUND
    assert time.monotonic() - began < 1


def test_an_answer_is_given_to_nobody_who_asks_after_it():
    lookups = Lookups()
    answers = iter([["first"], ["second"]])

    def changing(name, port):
        return next(answers)

    assert [lookups.within(5, changing, "r.example", 80) for _ in range(2)] == [["first"], ["second"]]


@pytest.mark.parametrize("error", [OSError("gone"), UnicodeError("odd")])
def test_a_failure_is_told_and_the_name_is_asked_for_again(error):
    lookups = Lookups()

    def failing(name, port):
        raise error

    for _ in range(2):
        with pytest.raises(type(error), match=str(error)):
            lookups.within(5, failing, "r.example", 80)
