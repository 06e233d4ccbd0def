from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from app.models.base import Instant, JsonText

DIALECTS = [sqlite.dialect(), postgresql.dialect()]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@given(at=st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)))
def test_an_instant_keeps_its_microseconds(dialect, at):
    kept = Instant().process_bind_param(at, dialect)

    assert Instant().process_result_value(kept, dialect) == at


def test_an_instant_of_another_zone_is_the_same_instant():
    there = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=45)))

    assert Instant().process_bind_param(there, DIALECTS[0]) == Instant().process_bind_param(
        there.astimezone(UTC), DIALECTS[0]
    )


def test_an_instant_without_a_zone_is_refused():
    with pytest.raises(TypeError):
        Instant().process_bind_param(datetime(2026, 1, 1), DIALECTS[0])


@given(value=json_values)
def test_any_json_value_comes_back_and_is_ascii_on_its_way(value):
    kept = JsonText().process_bind_param(value, DIALECTS[0])

    assert kept is None or kept.isascii()
    assert JsonText().process_result_value(kept, DIALECTS[0]) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1, 2}])
def test_what_is_no_json_is_refused(value):
    with pytest.raises((TypeError, ValueError)):
        JsonText().process_bind_param(value, DIALECTS[0])


def test_nul_and_lone_surrogates_survive_the_database(engine):
    table = sa.Table("texts_of_tests", sa.MetaData(), sa.Column("value", JsonText))
    table.metadata.create_all(engine.database)
    with engine.database.begin() as connection:
        connection.execute(sa.insert(table).values(value={"a": "x\x00y\ud800"}))

    with engine.database.connect() as connection:
        found = connection.scalar(sa.select(table.c.value))

    table.metadata.drop_all(engine.database)
    assert found == {"a": "x\x00y\ud800"}
