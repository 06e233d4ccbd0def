from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import sqlalchemy as sa

from app.database import db
from app.models import BulkOrder, Run, State
from tests.happened import Happened


@pytest.fixture
def happened(engine, world) -> Happened:
    return Happened(engine, world)


def fail(happened, count=2, cause="call: order {} was refused"):
    return [happened.run(State.FAILED, cause=cause.format(1000 + number)).id for number in range(count)]


def group(api):
    (found,) = api.get("/api/v1/failures").json["items"]
    return found


def replays():
    db.session.rollback()
    return sorted(db.session.scalars(sa.select(Run.replay_of).where(Run.replay_of.is_not(None))))


def test_failures_are_listed_by_cause(api, happened):
    runs = fail(happened, 3)

    answer = api.get("/api/v1/failures").json

    (found,) = answer["items"]
    assert answer["complete"] is True
    assert (found["state"], found["count"], found["cause"]) == ("failed", 3, "call: order … was refused")
    assert found["rule"] == happened.rule().rule_id
    assert (found["step"], found["action"]) == ("call", "http.request")
    assert found["newest"] == runs[::-1]
    assert found["may"] == ["retry", "replay", "dismiss"]


def test_all_alike_are_done_again(api, happened):
    runs = fail(happened, 3)

    answer = api.post(f"/api/v1/failures/{group(api)['id']}/replay")

    assert answer.status_code == 202
    order = answer.json
    assert (order["what"], order["total"], order["done"], order["skipped"]) == ("retry", 3, 3, 0)
    assert api.get(f"/api/v1/failures/orders/{order['id']}").json == order
    assert replays() == sorted(runs)
    assert api.get("/api/v1/failures").json["items"] == []


def test_the_same_again_gives_the_same_order(api, happened):
    fail(happened)
    path = f"/api/v1/failures/{group(api)['id']}/replay"

    first, second = (api.post(path).json["id"] for _ in range(2))

    assert first == second
    assert len(replays()) == 2


def test_two_people_at_once_give_one_order(app, api, api_key, happened):
    runs = fail(happened, 40)
    path = f"/api/v1/failures/{group(api)['id']}/replay"
    together = Barrier(2)

    def click(what):
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"
        together.wait()
        return client.post(path, json={"what": what})

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(click, ["retry", "replay"]))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json["id"] for answer in answers}) == 1
    assert replays() == sorted(runs)
    assert db.session.scalar(sa.select(sa.func.count()).select_from(BulkOrder)) == 1


def test_only_one_and_only_those_seen(api, happened):
    first, second, third = fail(happened, 3)
    path = f"/api/v1/failures/{group(api)['id']}/replay"

    api.post(path, json={"only": third, "what": "replay"})
    api.post(path, json={"upto": first})

    assert replays() == sorted([first, third])
    assert group(api)["newest"] == [second]


def test_what_is_uncertain_is_resolved_and_what_failed_dismissed(api, happened):
    happened.run(State.UNCERTAIN, cause="was it done?")
    asked = group(api)
    assert asked["may"] == ["done", "again", "skip"]

    answer = api.post(f"/api/v1/failures/{asked['id']}/resolve", json={"resolution": "skip"})
    assert (answer.json["done"], answer.json["skipped"]) == (1, 0)

    fail(happened)
    assert api.post(f"/api/v1/failures/{group(api)['id']}/dismiss").json["done"] == 2
    assert api.get("/api/v1/failures").json["items"] == []


def test_what_does_not_fit_is_refused(api, happened):
    fail(happened)
    path = f"/api/v1/failures/{group(api)['id']}"

    assert api.post(f"{path}/resolve", json={"resolution": "done"}).status_code == 422
    assert api.post(f"{path}/replay", json={"what": "nonsense"}).status_code == 422
    assert api.post("/api/v1/failures/flr_nothing/replay").status_code == 404
