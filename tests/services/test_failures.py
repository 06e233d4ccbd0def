import pytest
import sqlalchemy as sa

from app.database import db, writing
from app.errors import ForbiddenError, NotFoundError
from app.models import BulkOrder, Run, State
from app.services import bulk_orders, failures
from tests.happened import Happened

REFUSED = "order {} was refused"


@pytest.fixture
def happened(engine, world) -> Happened:
    return Happened(engine, world)


@pytest.fixture
def look(session, world, engine):
    def desk(who="owner"):
        session.rollback()
        return failures.desk(session, world.actor(who), engine)

    return desk


def fail(happened, number=1, **more):
    return happened.run(State.FAILED, cause=REFUSED.format(number), **more)


def order(world, engine, key, what="retry", who="owner", **more):
    with writing() as session:
        given, repeated = bulk_orders.order(session, world.actor(who), engine, key=key, what=what, **more)
        return given.id, repeated


def test_one_group_for_one_rule_step_and_cause(happened, look):
    first, second = fail(happened, 1001), fail(happened, 1002)
    other_rule = fail(happened, 1003, rule="Ship")
    other_cause = happened.run(State.FAILED, cause="the token was refused")

    groups = look().groups

    assert [group.members for group in groups] == [
        (other_cause.id,), (other_rule.id,), (second.id, first.id),
    ]  # fmt: skip
    assert (groups[2].cause, groups[2].rule, groups[2].step) == ("order … was refused", "Big orders", "call")
    assert groups[2].first_at <= groups[2].last_at


def test_a_single_cause_is_told_whole(happened, look):
    fail(happened, 1001)

    assert look().groups[0].cause == "order 1001 was refused"


def test_what_succeeded_waits_or_was_canceled_is_no_failure(happened, look):
    for state in State:
        happened.run(state)
        happened.task(state)

    assert {(group.kind, group.state) for group in look().groups} == {
        ("run", State.FAILED), ("run", State.UNCERTAIN), ("task", State.FAILED), ("task", State.UNCERTAIN),
    }  # fmt: skip


def test_what_was_begun_again_is_off_the_desk_and_back_once_it_failed_again(happened, look):
    run = fail(happened)
    again = happened.replayed(run)
    assert look().groups == ()

    db.session.execute(sa.update(Run).where(Run.id == again).values(state=State.FAILED, cause="no"))
    db.session.commit()

    assert [group.members for group in look().groups] == [(again,)]


def test_a_run_that_failed_before_any_step_has_its_own_cause(happened, look):
    run_id = str(happened.event().run_id)
    db.session.execute(
        sa.update(Run).where(Run.id == run_id).values(state=State.FAILED, cause="stopped: a loop")
    )
    db.session.commit()

    assert [(group.step, group.cause) for group in look().groups] == [(None, "stopped: a loop")]


def test_more_than_are_looked_at_is_said(happened, look, monkeypatch):
    monkeypatch.setattr(failures, "LOOKED_AT", 2)
    newest = [fail(happened, number).id for number in range(4)][2:]

    desk = look()

    assert desk.complete is False
    assert desk.groups[0].members == tuple(reversed(newest))


def test_the_count_is_that_of_the_desk(happened, look, session, world):
    fail(happened), fail(happened), happened.task(State.FAILED), happened.run(State.UNCERTAIN)

    assert failures.count(session, world.actor()) == look().count == 4


def test_only_ones_own_workspace(happened, look, session, world):
    fail(happened)

    assert look("stranger").groups == ()
    assert failures.count(session, world.actor("stranger")) == 0


def test_the_desk_is_read_by_its_indexes(session, world, engine):
    if engine.database.dialect.name != "sqlite":
        pytest.skip("SQLite tells its plan in words")
    for query, index in (
        (failures._open_runs(world.actor(), Run.id), "ix_runs_open_failures"),
        (failures._open_tasks(world.actor(), failures.Task.id), "ix_tasks_open_failures"),
    ):
        text = str(query.compile(engine.database, compile_kwargs={"literal_binds": True}))

        plan = session.execute(sa.text(f"EXPLAIN QUERY PLAN {text}")).all()

        assert index in str(plan)


def test_a_viewer_orders_nothing(happened, look, world, engine):
    fail(happened)

    with pytest.raises(ForbiddenError):
        order(world, engine, look().groups[0].key, who="viewer")


def test_nobody_orders_for_another_workspace(happened, look, world, engine):
    fail(happened)

    with pytest.raises(NotFoundError):
        order(world, engine, look().groups[0].key, who="stranger")


def test_an_order_under_way_is_given_to_who_clicks_next(happened, look, world, engine):
    fail(happened)
    key = look().groups[0].key

    first, second = order(world, engine, key), order(world, engine, key, "dismiss", who="member")

    assert (first[0], True) == second
    assert first[1] is False
    assert db.session.scalar(sa.select(sa.func.count()).select_from(BulkOrder)) == 1
