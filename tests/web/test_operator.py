import pytest

from app.engine import tick
from tests.conftest import World

LOOKS = ["", "0/view/workers", "0/view/jobs", "0/data/queues.json", "0/data/workers.json"]


def test_the_server_shows_its_processes_and_its_database(as_owner, engine, session):
    tick.seen(engine, "wrk_1", "worker")
    tick.seen(engine, "tick", "tick")
    session.rollback()

    page = as_owner.get("/operator/")

    assert "wrk_1" in page.text
    assert "/operator/rq/" in page.text
    assert "Redis does not answer" in page.text


@pytest.mark.parametrize("who", ["admin", "viewer", "stranger"])
def test_the_server_is_not_for_others(who, world: World, log_in):
    client = log_in(getattr(world, who))

    assert client.get("/operator/").status_code in {403, 404}
    for path in LOOKS:
        assert client.get(f"/operator/rq/{path}").status_code == 404
    assert client.post("/operator/rq/queue/bitqueue-drain/queued/empty").status_code == 404


def test_nobody_logged_in_is_sent_to_log_in(world, client):
    assert client.get("/operator/rq/").location.startswith("/login")


def test_the_dashboard_only_looks(as_owner):
    assert as_owner.get("/operator/rq/requeue/bitqueue-drain").status_code == 405
    assert as_owner.post("/operator/rq/queue/bitqueue-drain/queued/empty").status_code == 405
    assert as_owner.post("/operator/rq/job/x/delete").status_code == 405


def test_the_dashboard_looks_at_one_redis_only(as_owner):
    assert as_owner.get("/operator/rq/1/view/queues").status_code == 404


def test_without_redis_the_dashboard_says_so(as_owner):
    page = as_owner.get("/operator/rq/0/data/queues.json")

    assert page.status_code == 503
    assert "Redis does not answer" in page.text


def test_only_the_dashboard_may_run_scripts_of_its_pages(as_owner):
    with as_owner.get("/operator/rq/static/js/jquery-3.5.1.min.js") as script:
        assert "'unsafe-inline'" in script.headers["Content-Security-Policy"]

    assert "unsafe" not in as_owner.get("/operator/").headers["Content-Security-Policy"]
