import threading

import pytest

from app.sdk.errors import TemporaryError
from app.sdk.turns import turn


def test_only_one_is_at_a_thing_at_a_time():
    here, most, lock = [0], [0], threading.Lock()

    def work():
        with turn("a"):
            with lock:
                here[0] += 1
                most[0] = max(most[0], here[0])
            with lock:
                here[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1]


def test_whoever_waits_too_long_has_done_nothing():
    def other():
        with pytest.raises(TemporaryError) as failure, turn("a", wait_s=0.01):
            pass
        assert failure.value.sent is False
        with turn("b", wait_s=0.01):
            seen.append("b")

    seen = []
    with turn("a"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    assert seen == ["b"]


def test_a_turn_ends_with_a_failure():
    with pytest.raises(ValueError, match="x"), turn("a"):
        raise ValueError("x")

    with turn("a", wait_s=0.01):
        pass
