"""docs/promises.md has the scenarios that there are; its figures are those of the last time they were played."""

from tests.faults import promises, scenarios
from tests.faults.registry import SCENARIOS

assert scenarios


def test_the_page_lists_every_scenario_on_each_of_its_databases() -> None:
    listed = promises.listed()

    assert listed == {each.number: set(each.databases) for each in SCENARIOS.values()}


def test_the_page_is_as_it_would_be_written_again() -> None:
    assert promises.PAGE.read_text() == promises.page(promises._standing())


def test_every_promise_has_a_scenario_that_tries_to_break_it() -> None:
    untried = [each.number for each in promises.PROMISES if not promises._trying(each)]

    assert untried == []
