import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
import time_machine

from app import clock
from app.engine import claim, crowd
from app.engine.commit import GroupCommit
from app.models import Queue, Run, Task
from tests.engine.conftest import WORKER, step, workspace


def taken(tasks) -> list[str]:
    return [task.id for task in tasks]


@pytest.fixture
def statements(bench):
    """What the database is told from now on."""
    told = []

    def note(_connection, _cursor, statement, *_more):
        told.append(statement)

    sa.event.listen(bench.engine.database, "before_cursor_execute", note)
    yield told
    sa.event.remove(bench.engine.database, "before_cursor_execute", note)


def test_a_claimed_task_runs_under_a_lease_with_a_new_fence(bench):
    bench.accept(bench.arm(step("one")))

    (claimed,) = bench.claim()

    task = bench.row(Task)
    assert (task.state, task.attempt, task.fence, task.worker_id) == ("running", 1, 1, WORKER)
    assert clock.now() < task.lease_until <= clock.now() + timedelta(seconds=10)
    assert (claimed.fence, claimed.attempt) == (1, 1)
    assert (bench.run().state, bench.run().started_at) == ("running", task.started_at)


def test_within_a_queue_the_best_priority_comes_first_then_the_oldest(bench):
    ids = [bench.task(priority=priority) for priority in (0, 5, 0, 5)]

    one_by_one = [taken(bench.claim(1))[0] for _ in range(4)]

    assert one_by_one == [ids[1], ids[3], ids[0], ids[2]]


def test_nothing_is_claimed_twice(bench):
    bench.task()

    assert len(bench.claim()) == 1
    assert bench.claim() == []


def test_a_paused_queue_keeps_its_tasks(bench):
    bench.task(queue_id=bench.queue("paused", paused=True))

    assert bench.claim() == []


def test_an_external_queue_is_claimed_only_by_its_name(bench):
    external = bench.queue("external", external=True)
    task_id = bench.task(queue_id=external)

    assert bench.claim() == []
    assert taken(bench.claim(queue_id=external)) == [task_id]


def test_an_external_claim_takes_from_no_other_queue(bench):
    bench.task()

    assert bench.claim(queue_id=bench.queue("external", external=True)) == []


def test_concurrency_holds(bench):
    narrow = bench.queue("narrow", concurrency=2)
    for _ in range(5):
        bench.task(queue_id=narrow)

    first, second = bench.claim(), bench.claim()

    assert (len(first), len(second)) == (2, 0)
    bench.execute(first[0])
    assert len(bench.claim()) == 1


def test_a_queue_at_its_limit_does_not_hide_another(bench):
    for n in range(3):
        full = bench.queue(f"full{n}", concurrency=1, priority=9)
        bench.task(queue_id=full)
        bench.task(queue_id=full)
    bench.claim(3)
    plain = bench.task()

    assert taken(bench.claim(1)) == [plain]


def test_a_rate_holds_and_refills_evenly(bench):
    rated = bench.queue("rated", rate_count=4, rate_period_s=2)
    for _ in range(10):
        bench.task(queue_id=rated)

    with time_machine.travel(clock.now(), tick=False) as traveller:
        at_once = [len(bench.claim()), len(bench.claim())]
        traveller.shift(0.6)
        later = len(bench.claim())
        traveller.shift(0.5)
        much_later = len(bench.claim())

    assert (at_once, later, much_later) == ([4, 0], 1, 1)


def test_a_clock_set_back_neither_fills_nor_empties_the_bucket(bench):
    rated = bench.queue("rated", rate_count=4, rate_period_s=4)
    for _ in range(10):
        bench.task(queue_id=rated)

    with time_machine.travel(clock.now(), tick=False) as traveller:
        bench.claim(2)
        traveller.shift(-3600)
        after_step = len(bench.claim())
        traveller.shift(1)
        refilled = len(bench.claim())

    assert (after_step, refilled) == (2, 1)


def test_a_crowded_queue_does_not_starve_one_with_a_single_task(bench):
    crowded = bench.queue("crowded", priority=9)
    for _ in range(30):
        bench.task(queue_id=crowded)
    lonely = bench.task()

    assert lonely in taken(bench.claim(10))


def test_single_places_are_shared_with_a_queue_of_lower_priority(bench):
    crowded = bench.queue("crowded", priority=9)
    for _ in range(60):
        bench.task(queue_id=crowded)
    bench.task()
    bench.task()

    # Chance decides for each; that it is sixty times against the two has no chance.
    queues = [bench.claim(1)[0].queue_id for _ in range(60)]

    assert queues.count(bench.queue_id) == 2


def test_priority_among_queues_gets_the_larger_part(bench):
    urgent = bench.queue("urgent", priority=9)
    for _ in range(40):
        bench.task(queue_id=urgent)
        bench.task()

    queues = [task.queue_id for task in bench.claim(20)]

    assert len(queues) == 20
    assert queues.count(urgent) >= 14


def test_a_rule_with_many_tasks_keeps_no_other_rule_from_starting(bench):
    noisy, other = bench.arm(step("slow")), bench.arm(step("quick"))
    for _ in range(30):
        bench.accept(noisy)
    single = bench.accept(other)

    claimed = bench.claim(4)

    assert [task.run_id for task in claimed].count(single.run_id) == 1
    assert {task.rule_id for task in claimed} == {noisy.rule_id, other.rule_id}
    assert len(claimed) == 4


def test_a_rule_with_many_tasks_keeps_none_of_the_api_from_starting_and_they_not_it(bench):
    noisy = bench.arm(step("slow"))
    for _ in range(10):
        bench.accept(noisy)
    single = bench.task()
    for _ in range(10):
        bench.task(priority=5)

    claimed = bench.claim(8)

    assert sum(task.rule_id == "" for task in claimed) == 6
    assert sum(task.rule_id == noisy.rule_id for task in claimed) == 2
    assert single not in taken(claimed)


def test_where_there_is_a_place_for_each_nothing_is_asked_by_rule(bench, statements):
    first, second = bench.arm(step("one")), bench.arm(step("two"))
    ids = [bench.accept(armed).run_id for armed in (first, second, first)]

    claimed = bench.claim(3)

    assert sorted(task.run_id for task in claimed) == ids
    assert sum("UPDATE tasks" in statement for statement in statements) == 1


def test_of_many_rules_chance_decides_whose_turn_it_is(bench):
    rules = [bench.arm(step("each")) for _ in range(25)]
    for armed in rules:
        bench.accept(armed)

    with bench.engine.database.connect() as connection:
        turns = [crowd.shares(connection, bench.queue_id, 8) for _ in range(100)]
        enough = crowd.shares(connection, bench.queue_id, 25)

    assert all(list(turn.values()) == [1] * 4 for turn in turns)
    assert {rule_id for turn in turns for rule_id in turn} == {armed.rule_id for armed in rules}
    assert enough == {}


def test_the_next_step_is_of_the_same_rule(bench):
    armed = bench.arm(step("one"), step("two"))
    bench.accept(armed)

    bench.work()

    assert {task.rule_id for task in bench.rows(Task)} == {armed.rule_id}


def test_the_longest_unserved_among_equals_comes_first(bench):
    other = bench.queue("other")
    for _ in range(3):
        bench.task()
        bench.task(queue_id=other)

    queues = [bench.claim(1)[0].queue_id for _ in range(6)]

    assert queues[0] != queues[1] != queues[2] != queues[3]


def test_another_workspace_gets_its_share(bench):
    theirs = workspace(bench.engine, bench.provider)
    for _ in range(30):
        bench.task()
    task_id = theirs.task()

    assert task_id in taken(bench.claim(10))


@pytest.mark.parametrize("limits", [{}, {"concurrency": 7}, {"rate_count": 7, "rate_period_s": 3600}])
def test_claimers_at_once_share_without_overlap_and_within_limits(bench, limits):
    queue_id = bench.queue("shared", **limits)
    for _ in range(40):
        bench.task(queue_id=queue_id)
    writers = [GroupCommit(bench.engine.database) for _ in range(4)]
    ready = threading.Barrier(4)

    def claims(n: int) -> list[str]:
        ready.wait()
        found = []
        for _ in range(10):
            found += taken(
                writers[n].submit(lambda connection: claim.claim(connection, f"wrk_{n}", 5, actions=None))
            )
        return found

    with ThreadPoolExecutor(4) as pool:
        found = [task_id for part in pool.map(claims, range(4)) for task_id in part]

    assert len(found) == len(set(found)) == (7 if limits else 40)
    assert {task.fence for task in bench.rows(Task, state="running")} == {1}


def test_a_claimer_passes_over_what_another_is_just_taking(bench):
    if bench.engine.database.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    ids = [bench.task() for _ in range(4)]

    with bench.engine.database.begin() as one, bench.engine.database.begin() as other:
        first = taken(claim.claim(one, "wrk_one", 2, actions=None))
        second = taken(claim.claim(other, "wrk_other", 2, actions=None))

    assert [first, second] == [ids[:2], ids[2:]]


def test_a_limit_is_never_passed_by_a_plan_of_the_database(bench):
    for _ in range(50):
        bench.task()

    assert [len(bench.claim(7)) for _ in range(3)] == [7, 7, 7]


def test_when_a_queue_was_served_is_noted(bench):
    bench.task()

    bench.claim()

    assert bench.row(Queue, id=bench.queue_id).served_at is not None


def test_the_run_of_a_claimed_task_forgets_why_it_waited(bench):
    bench.accept(bench.arm(step("one")))
    bench.set(bench.run(), cause="waited")

    bench.claim()

    assert bench.row(Run).cause is None
