import threading

import pytest

from app.database import db
from app.errors import ConflictError, ForbiddenError, InvalidError
from app.models import State
from app.services import orders, tasks
from app.services.orders import Order

ORDER = Order(action="http.request", params={"method": "GET", "url": "https://example.com/"})


def test_an_order_is_hashed_by_what_it_says_not_how():
    turned = Order(params={"url": "https://example.com/", "method": "GET"}, action="http.request")

    assert turned.sha256 == ORDER.sha256
    assert Order(action="http.request").sha256 != ORDER.sha256


def test_a_taken_order_is_there(session, engine, world):
    taken = orders.take(session, engine, world.actor(), ORDER)

    view = tasks.get(session, world.actor(), taken.task_id)
    assert (view.row.state, view.queue, taken.repeated) == (State.QUEUED, "default", False)


def test_a_viewer_orders_nothing(session, engine, world):
    with pytest.raises(ForbiddenError):
        orders.take(session, engine, world.actor("viewer"), ORDER)


def test_an_order_for_an_unknown_action_names_the_field(session, engine, world):
    with pytest.raises(InvalidError) as refused:
        orders.take(session, engine, world.actor(), Order(action="no.such"))

    assert list(refused.value.fields) == ["action"]


def test_a_key_used_for_another_order_is_a_conflict(session, engine, world):
    orders.take(session, engine, world.actor(), ORDER, key="one")

    with pytest.raises(ConflictError):
        orders.take(
            session,
            engine,
            world.actor(),
            Order(action=ORDER.action, params=ORDER.params, priority=1),
            key="one",
        )


def test_the_same_key_at_the_same_moment_makes_one_task(app, session, engine, world):
    actor, taken = world.actor(), []
    session.rollback()

    def take() -> None:
        with app.app_context():
            taken.append(orders.take(db.session(), engine, actor, ORDER, key="one").task_id)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(taken) == 6
    assert len(set(taken)) == 1
