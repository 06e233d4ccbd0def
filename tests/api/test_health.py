from datetime import timedelta

from app import clock
from app.database import db
from app.models import Heartbeat
from tests import factories


def beat(session, *, seconds_ago: float = 1) -> None:
    now = clock.now()
    seen_at = now - timedelta(seconds=seconds_ago)
    session.add(Heartbeat(id="wrk_1", kind="worker", host="h", pid=1, started_at=seen_at, seen_at=seen_at))
    session.add(Heartbeat(id="tick", kind="tick", host="h", pid=1, started_at=seen_at, seen_at=seen_at))
    session.commit()


def test_a_process_that_answers_is_alive(client):
    assert client.get("/healthz").json == {"status": "ok"}


def test_a_server_with_a_worker_is_ready_even_without_redis(client, session):
    beat(session)

    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json == {
        "ready": True,
        "database": "ok",
        "disk": "ok",
        "migrations": "ok",
        "worker": "ok",
        "redis": "away",
    }


def test_a_server_without_a_worker_is_not_ready(client, session):
    beat(session, seconds_ago=60)

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "worker" in answer.json["worker"]


def test_a_server_whose_database_is_locked_says_busy(app, client, session):
    beat(session)
    with db.engine.connect() as other:
        if other.dialect.name == "sqlite":
            other.exec_driver_sql("ROLLBACK")
            other.exec_driver_sql("BEGIN IMMEDIATE")
            answer = client.get("/readyz")
            assert (answer.status_code, answer.json["database"]) == (503, "busy")


def test_an_operator_reads_figures(api, session):
    beat(session)
    api.post("/enqueue", json={"action": "http.request", "params": {"url": "https://example.com/"}})

    answer = api.get("/metrics")

    assert answer.content_type.startswith("text/plain")
    assert 'bitqueue_tasks{state="queued"} 1.0' in answer.text
    assert 'queue="default"' in answer.text
    assert "bitqueue_workers 1.0" in answer.text
    assert "bitqueue_redis_up 0.0" in answer.text
    assert "bitqueue_tick_age_seconds" in answer.text


def test_figures_are_for_operators(app, world):
    factories.ApiKeyFactory(workspace_id=world.workspace.id, user_id=world.admin.id, text="bq_admin")

    answer = app.test_client().get("/metrics", headers={"Authorization": "Bearer bq_admin"})

    assert (answer.status_code, answer.content_type) == (403, "application/problem+json")
