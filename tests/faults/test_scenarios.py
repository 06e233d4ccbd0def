"""The quick scenarios of `./run faults`, with two hundred events each."""

import pytest

from tests.faults import scenarios
from tests.faults.databases import Databases
from tests.faults.registry import QUICK_EVENTS, SCENARIOS, play

assert scenarios
QUICK = [each for each in SCENARIOS.values() if each.quick]


@pytest.mark.slow
@pytest.mark.parametrize("number", [each.number for each in QUICK])
def test_nothing_is_lost_and_nothing_doubled(number: str, databases: Databases) -> None:
    scenario = SCENARIOS[number]
    if databases.kind not in scenario.databases:
        pytest.skip(f"not on {databases.kind}")

    played = play(scenario, databases, seed=1, events=QUICK_EVENTS)

    # How soon (I8) is for `./run faults` to judge: here other tests keep the machine busy.
    assert [said for said in played.report.sentences if not said.startswith("I8")] == []
    assert (played.report.lost, played.report.doubled) == (0, 0)
