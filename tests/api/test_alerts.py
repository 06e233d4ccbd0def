from app.database import writing
from app.engine import alerts
from app.engine.alerts import Cause
from app.models import AlertKind


def test_a_program_reads_alerts_and_marks_them(api, engine, world):
    with writing() as session:
        cause = Cause(world.workspace.id, AlertKind.DISK, "disk", "The disk is full", "make room")
        alerts.tell(session.connection(), engine, cause)

    (alert,) = api.get("/api/v1/alerts").json["items"]
    marked = api.post(f"/api/v1/alerts/{alert['id']}/read")

    assert (alert["kind"], alert["read"], alert["sentence"]) == ("disk", False, "make room")
    assert marked.json["read"] is True
    assert api.get("/api/v1/alerts").json["items"][0]["read"] is True


def test_a_rules_answer_tells_its_health(api):
    made = api.post(
        "/api/v1/rules",
        json={
            "name": "Nightly",
            "enabled": True,
            "trigger": {
                "type": "schedule.cron",
                "params": {"expression": "0 9 * * *", "zone": "Asia/Kolkata"},
            },
            "steps": [{"key": "call", "action": "http.request", "params": {"url": "https://shop.example/"}}],
        },
    ).json

    off = api.post(f"/api/v1/rules/{made['id']}/disable").json

    assert made["trigger_health"]["state"] == "armed"
    assert made["trigger_health"]["sentence"].endswith("09:00 Asia/Kolkata")
    assert made["trigger_health"]["next_at"].endswith("03:30:00.000Z")
    assert off["trigger_health"] is None
