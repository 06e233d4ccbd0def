from types import SimpleNamespace

import pytest

from app.engine import flow
from app.models import RuleVersion
from tests.engine.conftest import only_if, step

DEFINITION = {"steps": [only_if("some", "event.x", "eq", 1), step("one", queue="slow"), step("two")]}


def test_the_walk_goes_from_the_first_place_to_the_last():
    place, keys = flow.first(DEFINITION), []
    while place:
        keys.append((place.path, place.key, place.kind))
        place = flow.after(DEFINITION, place.path)

    assert keys == [("0", "some", "filter"), ("1", "one", "action"), ("2", "two", "action")]


def test_a_rule_without_steps_has_no_first_place():
    assert flow.first({"steps": []}) is None


@pytest.mark.parametrize(("path", "key"), [("1", "one"), ("3", None), ("99", None)])
def test_a_place_is_found_by_its_path(path, key):
    place = flow.at(DEFINITION, path)

    assert (place and place.key) == key


def test_a_place_is_found_by_its_key():
    place = flow.find(DEFINITION, "one")

    assert (place.path, place.queue, place.action, place.connection_id) == ("1", "slow", "probe.tell", None)
    assert flow.find(DEFINITION, "nowhere") is None


def test_a_version_is_read_once(bench):
    armed = bench.arm(step("one"))
    with bench.engine.database.connect() as connection:
        first = flow.definition(connection, armed.version_id)
        bench.write(lambda own: own.execute(RuleVersion.__table__.delete()))
        again = flow.definition(connection, armed.version_id)

    assert first is again


def test_an_unknown_version_is_an_error(bench):
    with bench.engine.database.connect() as connection, pytest.raises(LookupError):
        flow.definition(connection, "ver_unknown")


def test_a_remembered_version_keeps_no_connection():
    assert flow._Reader(SimpleNamespace()) == flow._Reader(SimpleNamespace())
