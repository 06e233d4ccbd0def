from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from app import clock
from app.engine import memory
from app.engine.commit import GroupCommit
from app.engine.memory import TaskMemory, when_possible
from app.errors import UnavailableError
from app.models import Kept
from app.sdk.errors import TemporaryError
from tests.engine.conftest import workspace


@pytest.fixture
def kept(bench):
    return TaskMemory(bench.engine.database, bench.engine.writer, bench.workspace_id, "run_1-2")


@pytest.mark.parametrize("value", [{"text": "ä\x00\ud800", "n": [1, 2.5, None]}, "", 0, False, []])
def test_what_was_kept_is_there_on_the_next_attempt(bench, kept, value):
    kept.keep("answer", value)

    again = TaskMemory(
        bench.engine.database, GroupCommit(bench.engine.database), bench.workspace_id, "run_1-2"
    )
    assert again.recall("answer") == value


def test_nothing_kept_is_none(kept):
    assert kept.recall("answer") is None


def test_the_last_value_counts_and_none_forgets(bench, kept):
    kept.keep("answer", 1)
    kept.keep("answer", 2)
    kept.keep("other", 3)

    assert (kept.recall("answer"), kept.recall("other")) == (2, 3)
    kept.keep("answer", None)
    assert kept.recall("answer") is None
    assert len(bench.rows(Kept)) == 2


def test_another_task_or_workspace_sees_nothing(bench, kept, engine, provider):
    kept.keep("answer", 1)

    assert replace(kept, task_key="run_1-3").recall("answer") is None
    assert replace(kept, workspace_id=workspace(engine, provider).workspace_id).recall("answer") is None


def test_two_workers_that_keep_the_same_thing_do_not_break_each_other(bench, kept):
    writers = [GroupCommit(bench.engine.database) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda writer: replace(kept, writer=writer).keep("answer", "same"), writers))

    assert kept.recall("answer") == "same"


def test_what_was_paid_for_is_kept_when_the_database_comes_back():
    tries = []

    def write():
        tries.append(1)
        if len(tries) < 2:
            raise UnavailableError("away")
        return "stored"

    assert when_possible(write) == "stored"


def test_a_database_that_stays_away_is_not_waited_for_for_ever():
    def write():
        raise UnavailableError("the database cannot be written now")

    with pytest.raises(TemporaryError, match="cannot be written"):
        when_possible(write, patience_s=0)


def test_old_things_are_forgotten_and_new_ones_not(bench, kept):
    kept.keep("old", 1)
    replace(kept, task_key="run_2-1").keep("new", 2)
    (old,) = bench.rows(Kept, name="old")
    bench.write(
        lambda connection: (
            connection.execute(
                Kept.__table__.update()
                .where(Kept.task_key == old.task_key)
                .values(created_at=clock.now() - timedelta(days=8))
            ).rowcount
        )
    )

    assert bench.write(lambda connection: memory.sweep(connection, clock.now())) == 1

    assert [row.name for row in bench.rows(Kept)] == ["new"]
