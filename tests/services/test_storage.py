"""What the workspace keeps and takes, and what paid services were used."""

from datetime import timedelta

import pytest

from app import clock
from app.database import writing
from app.errors import ForbiddenError, InvalidError
from app.models import Storage, StorageSample, Usage, Workspace
from app.models.storage import FILES
from app.services import storage, usage
from app.services.storage import MB, forecast
from tests import factories

BUDGET = 1000 * MB


def told(*, used=100, before=0, days=1.0, keep_days=None):
    samples = [(clock.now() - timedelta(days=days), before * MB)]
    return forecast(samples, used * MB, BUDGET, keep_days=keep_days)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"used": 100, "before": 0}, "At this pace the budget is reached in 9 days."),
        ({"used": 500, "before": 0}, "At this pace the budget is reached in 1 day."),
        ({"used": 800, "before": 0}, "At this pace the budget is reached in less than a day."),
        ({"used": 100, "before": 100}, "At this pace the budget is not reached."),
        ({"used": 100, "before": 300}, "At this pace the budget is not reached."),
        (
            {"used": 100, "before": 90, "keep_days": 30},
            "At this pace the budget is not reached: what is older than 30 days goes before.",
        ),
        ({"used": 10, "before": 0, "days": 0.05}, "Too early for a forecast; look again in a few hours."),
        ({"used": 900}, "The budget is nearly used up"),
        ({"used": 1000}, "The budget is used up"),
    ],
)
def test_the_forecast_says_when_the_budget_is_reached(given, sentence):
    assert told(**given).startswith(sentence)


def test_without_a_look_back_there_is_no_forecast():
    assert "Too early" in forecast([], 1, BUDGET, keep_days=30)


def test_sizes_are_told_by_rule_the_largest_first(engine, world, session):
    rule = factories.RuleFactory(workspace_id=world.workspace.id, name="Big orders")
    gone = factories.RuleFactory(workspace_id=world.workspace.id, name="Old", deleted_at=clock.now())
    for subject_id, size in ((rule.id, 5 * MB), (gone.id, MB), (FILES, 7 * MB)):
        session.add(Storage(workspace_id=world.workspace.id, subject_id=subject_id, count=2, bytes=size))
    session.add(Storage(workspace_id=world.other_workspace.id, subject_id=FILES, count=2, bytes=99 * MB))
    session.commit()

    found = storage.standing(session, world.actor("viewer"), engine)

    names = [(share.name, share.rule_id, share.bytes // MB) for share in found.shares]
    assert names == [("Files", None, 7), ("Big orders", rule.id, 5), ("Old (deleted)", None, 1)]
    assert (found.used_bytes, found.pressure, found.keep_days) == (13 * MB, "none", 30)


@pytest.mark.parametrize(
    ("part", "pressure"), [(0.89, "none"), (0.9, "strip"), (0.99, "strip"), (1.0, "delete")]
)
def test_the_pressure_is_that_at_which_the_sweep_acts(engine, world, session, part, pressure):
    place = session.get_one(Workspace, world.workspace.id)
    place.budget_bytes = 1000
    session.add(Storage(workspace_id=place.id, subject_id=FILES, count=1, bytes=int(1000 * part)))
    session.add(StorageSample(workspace_id=place.id, at=clock.now() - timedelta(days=2), bytes=0))
    session.commit()

    assert storage.standing(session, world.actor(), engine).pressure == pressure


def test_an_admin_changes_what_is_kept_and_it_is_written_down(world, session):
    with writing() as writer:
        row = storage.change(
            writer, world.actor("admin"), {"keep_days": None, "keep_runs": 5, "budget_mb": 20}
        )

    assert (row.keep_days, row.keep_runs, row.budget_bytes) == (None, 5, 20 * MB)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"keep_days": 0}, "keep_days"),
        ({"keep_days": 36_501}, "keep_days"),
        ({"keep_runs": -1}, "keep_runs"),
        ({"budget_mb": 9}, "budget_mb"),
        ({"budget_mb": None}, "budget_mb"),
        ({"budget_mb": 10**12}, "budget_mb"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_by_name(world, values, field):
    with pytest.raises(InvalidError) as refusal, writing() as session:
        storage.change(session, world.actor(), values)

    assert list(refusal.value.fields) == [field]


def test_an_editor_changes_nothing_of_it(world):
    with pytest.raises(ForbiddenError), writing() as session:
        storage.change(session, world.actor("member"), {"keep_days": 1})


def test_the_use_of_paid_services_stands_beside_its_limits(engine, world, session):
    place, today = world.workspace.id, clock.now().date()
    account = factories.ConnectionFactory(
        workspace_id=place,
        integration="openai",
        name="AI",
        settings={"calls_a_day": 10, "dollars_a_month": 5},
    )
    factories.ConnectionFactory(workspace_id=place, integration="smtp", name="Mail")
    rule = factories.RuleFactory(workspace_id=place, name="Ask")
    for day, calls in ((today, 8), (today.replace(day=1), 3), (today - timedelta(days=40), 100)):
        for subject_id in (account.id, rule.id):
            key = (place, subject_id, day.isoformat())
            row = session.get(Usage, key) or Usage(
                workspace_id=place, subject_id=subject_id, day=key[2], calls=0, tokens=0, micros=0
            )
            row.calls, row.micros = row.calls + calls, row.micros + calls * 1_000_000
            session.add(row)
    session.commit()

    found = usage.listing(session, world.actor("viewer"), engine)

    assert [(use.name, use.kind) for use in found] == [("AI", "connection"), ("Ask", "rule")]
    day, month = found[0].day, found[0].month
    first = today.day == 1
    assert (day["calls"].used, day["calls"].limit) == (11 if first else 8, 10)
    assert (month["micros"].used, month["micros"].limit) == (11_000_000, 5_000_000)
    assert found[1].month["calls"].limit is None
    assert usage.listing(session, world.actor("stranger"), engine) == []
