"""Whatever is done to a rule that looks for something, each thing it looks for starts it once."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app import clock
from app.database import read_connection, writing
from app.engine import poll
from app.engine.core import Engine
from app.models import Event, Rule, Trigger
from app.sdk.declare import Batch, Catalogue, Integration, Occurrence
from app.sdk.fields import Settings, Text, setting
from app.services import rules
from tests.conftest import World

CALL = {"key": "call", "kind": "action", "action": "http.request", "params": {"url": "https://shop.example/"}}
SHELVES = ("left", "right")


class Shelf(Settings):
    name: Text = setting("Name", place=True)
    every_minutes: int = setting("Look every … minutes", 5)


@dataclass
class Warehouse:
    """Parcels by shelf, in the order in which they came."""

    parcels: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in SHELVES})


def parcels(warehouse: Warehouse) -> Integration:
    integration = Integration("tests.parcels", "Parcels", "tell of parcels", need="none")

    @integration.poll("New parcel", every=timedelta(minutes=1), samples=[{"parcel": "a"}])
    def parcel(_ctx: Any, _connection: Any, params: Shelf, cursor: Any, recent_keys: list[str]) -> Batch:
        """Tells of each parcel on a shelf; the first look only remembers what is there."""
        there = warehouse.parcels[params.name]
        new = [key for key in there if key not in recent_keys]
        found = [] if cursor is None else [Occurrence(key, {"parcel": key}) for key in new]
        return Batch(found, len(there), [*recent_keys, *new])

    return integration


@dataclass
class Story:
    """A rule, and what people and the world do to it."""

    session: Session
    world: World
    engine: Engine
    warehouse: Warehouse
    rule: Rule = field(init=False)
    came: int = 0
    steps: int = 1

    def __post_init__(self) -> None:
        document = {"name": "Parcels", "enabled": True, "trigger": _trigger("left"), "steps": [CALL]}
        self.rule = self.edge(rules.create, document, publish=True)
        for shelf in (*reversed(SHELVES), "left"):
            # Both are known before the story begins: what lies there then is history.
            self.move(shelf)
            self.look()

    def edge(self, use_case: Callable[..., Any], *given: Any, **more: Any) -> Any:
        with writing() as session:
            return use_case(session, self.world.actor("member"), self.engine, *given, **more)

    def arrive(self) -> None:
        for shelf in SHELVES:
            self.came += 1
            self.warehouse.parcels[shelf].append(f"{shelf}-{self.came}")

    def look(self) -> None:
        self.session.rollback()
        with read_connection(self.engine.database) as connection:
            row = connection.execute(
                sa.select(Trigger.__table__).where(Trigger.rule_id == self.rule.id)
            ).one()
        if row.next_due_at is None:
            return
        next_at = clock.now() + timedelta(minutes=5)
        assert self.engine.writer.submit(lambda connection: poll._take(connection, self.engine, row, next_at))
        poll.look(self.engine, row, next_at)

    def edit_steps(self) -> None:
        self.steps += 1
        steps = [CALL | {"key": f"call_{number}"} for number in range(self.steps)]
        self.save(self.rule.draft | {"steps": steps})

    def edit_interval(self) -> None:
        params = self.rule.draft["trigger"]["params"]
        slower = params | {"every_minutes": params.get("every_minutes", 5) + 1}
        self.save(self.rule.draft | {"trigger": {"type": "parcels.parcel", "params": slower}})

    def edit_away(self) -> None:
        self.save(self.rule.draft | {"trigger": _trigger("right")})

    def edit_to_another_type(self) -> None:
        self.save(self.rule.draft | {"trigger": {"type": "manual.started", "params": {}}})

    def edit_back(self) -> None:
        self.save(self.rule.draft | {"trigger": _trigger("left")})

    def save(self, definition: dict[str, Any]) -> None:
        self.edge(rules.save_draft, self.rule.id, definition=definition)

    def publish(self) -> None:
        self.edge(rules.publish, self.rule.id)

    def discard(self) -> None:
        self.edge(rules.discard, self.rule.id)

    def turn_on(self) -> None:
        self.edge(rules.enable, self.rule.id)

    def turn_off(self) -> None:
        with writing() as session:
            rules.disable(session, self.world.actor("member"), self.rule.id)

    def move(self, shelf: str) -> None:
        self.save(self.rule.draft | {"trigger": _trigger(shelf)})
        self.turn_on()

    def started(self) -> list[str]:
        query = sa.select(Event.key).join(Trigger, Trigger.id == Event.source)
        with read_connection(self.engine.database) as connection:
            return sorted(connection.scalars(query.where(Trigger.rule_id == self.rule.id)))


def _trigger(shelf: str) -> dict[str, Any]:
    return {"type": "parcels.parcel", "params": {"name": shelf}}


WHAT_HAPPENS = [
    Story.arrive, Story.look, Story.edit_steps, Story.edit_interval, Story.edit_away, Story.edit_back,
    Story.edit_to_another_type, Story.publish, Story.discard, Story.turn_on, Story.turn_off,
]  # fmt: skip


@pytest.fixture
def begin(session: Session, world: World, engine: Engine) -> Callable[[], Story]:
    def make() -> Story:
        warehouse = Warehouse()
        known = dict(engine.catalogue.integrations)
        catalogue = Catalogue(known | {"parcels": parcels(warehouse)})
        return Story(session, world, replace(engine, catalogue=catalogue), warehouse)

    return make


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happens=st.lists(st.sampled_from(WHAT_HAPPENS), max_size=14))
def test_nothing_that_people_do_to_a_rule_loses_or_repeats_an_item(
    begin: Callable[[], Story], happens: list[Callable[[Story], None]]
) -> None:
    story = begin()

    for one in happens:
        one(story)

    for shelf in SHELVES:
        story.move(shelf)
        story.look()
    arrived = sorted(key for keys in story.warehouse.parcels.values() for key in keys)
    assert story.started() == arrived


@pytest.mark.parametrize(
    "change",
    [
        [Story.edit_steps, Story.publish],
        [Story.edit_interval, Story.publish],
        [Story.edit_interval, Story.discard],
        [Story.turn_off, Story.turn_on],
        [Story.turn_off, Story.edit_away, Story.discard, Story.turn_on],
        [Story.turn_off, Story.edit_to_another_type, Story.edit_back, Story.turn_on],
        [Story.edit_to_another_type, Story.publish, Story.edit_back, Story.publish],
        [Story.edit_away, Story.publish, Story.look, Story.edit_back, Story.publish],
    ],
    ids=lambda change: "_".join(each.__name__ for each in change),
)
def test_where_it_got_to_survives(begin: Callable[[], Story], change: list[Callable[[Story], None]]) -> None:
    story = begin()
    story.arrive()
    story.look()
    story.arrive()

    for one in change:
        one(story)
    story.look()

    assert [key for key in story.started() if key.startswith("left")] == story.warehouse.parcels["left"]


def test_no_more_than_a_few_places_are_kept(begin: Callable[[], Story]) -> None:
    story = begin()
    for number in range(6):
        story.warehouse.parcels[f"shelf {number}"] = ["old"]
        story.move(f"shelf {number}")
        story.look()

    trigger = rules.trigger_of(story.session, story.rule)

    assert trigger is not None
    assert len(trigger.left_off or {}) == 3
