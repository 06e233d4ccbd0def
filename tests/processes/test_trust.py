"""The main promises on the real processes: nothing lost and nothing doubled while things die, schedules on time."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest
import sqlalchemy as sa

from app import clock
from tests.live import Server, running, wait_until
from tests.processes.ledger import Ledger

EVENTS = 500


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger(slow_s=0.03)
    yield made
    made.close()


def make_rule(server: Server, key: str, trigger: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    document = {"name": "Under test", "enabled": True, "trigger": trigger, "steps": [step]}
    with server.api(key) as api:
        answer = api.post("/api/v1/rules", json=document)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def call_step(url: str, **params: Any) -> dict[str, Any]:
    given = {"method": "POST", "url": url, "json": {"order": "{{ event.order }}"}, **params}
    return {"key": "call", "kind": "action", "action": "http.request", "connection": None, "params": given}


def states(server: Server) -> Counter[str]:
    database = server.database()
    with database.connect() as connection:
        found = Counter(
            dict(connection.execute(sa.text("SELECT state, count(*) FROM runs GROUP BY state")).all())
        )
    database.dispose()
    return found


def send_events(url: str, refused: list[int]) -> None:
    """500 events; one that is not acknowledged is sent again with the same key, as a careful caller does."""
    with httpx2.Client(timeout=10) as caller:
        for order in range(EVENTS):
            while True:
                try:
                    answer = caller.post(
                        url, json={"order": order}, headers={"Idempotency-Key": f"order-{order}"}
                    )
                except httpx2.HTTPError:
                    time.sleep(0.05)
                    continue
                if answer.status_code == 202:
                    break
                refused.append(answer.status_code)
                time.sleep(0.05)
            time.sleep(0.004)


def hurt(server: Server) -> None:
    """Redis killed and so emptied, and every worker killed, twice over while the events flow."""
    for _ in range(2):
        time.sleep(0.7)
        server.kill("valkey")
        time.sleep(0.7)
        server.kill("worker.py", signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("repeat_safe", [True, False])
def test_redis_emptied_and_workers_killed_lose_nothing_and_double_nothing(
    ledger: Ledger, repeat_safe: bool
) -> None:
    with running() as server:
        key = server.owner_key()
        trigger = {"type": "webhook.received", "params": {}}
        rule = make_rule(server, key, trigger, call_step(ledger.url, repeat_safe=repeat_safe))
        refused: list[int] = []
        sender = threading.Thread(target=send_events, args=(rule["hook_url"], refused))

        sender.start()
        hurt(server)
        sender.join(timeout=90)
        wait_until(
            lambda: sum(states(server)[done] for done in ("succeeded", "uncertain")) == EVENTS,
            seconds=60,
            what=f"all {EVENTS} runs are settled, not {states(server)}",
        )

        ended = states(server)
        by_order = Counter(body["order"] for _, body in ledger.entries)
        keys_of = {
            order: {key for key, body in ledger.entries if body["order"] == order} for order in by_order
        }
        assert sum(ended.values()) == EVENTS
        assert ended["succeeded"] <= len(by_order) <= EVENTS
        if repeat_safe:
            assert ended["succeeded"] == len(by_order) == EVENTS
            assert all(len(keys) == 1 for keys in keys_of.values())
        else:
            assert max(by_order.values()) == 1


@pytest.mark.slow
def test_a_schedule_fires_on_its_slot_in_another_zone_and_without_the_clock(ledger: Ledger) -> None:
    with running() as server:
        key = server.owner_key()
        zone = "Asia/Kolkata"
        slot = (clock.now() + timedelta(seconds=8)).astimezone(ZoneInfo(zone)).replace(microsecond=0)
        make_rule(server, key, once(slot.replace(tzinfo=None).isoformat(), zone), slot_step(ledger.url))

        wait_until(lambda: ledger.entries, seconds=15, what="the scheduled request arrives")

        late_s = clock.now().timestamp() - slot.timestamp()
        assert 0 <= late_s < 1.5
        assert ledger.entries[0][1]["local"] == slot.isoformat()

        # The clock process is stopped, not killed: the supervisor must not be able to bring it back.
        server.kill("deploy.clock", signal.SIGSTOP)
        slot = (clock.now() + timedelta(seconds=4)).astimezone(ZoneInfo(zone)).replace(microsecond=0)
        make_rule(server, key, once(slot.replace(tzinfo=None).isoformat(), zone), slot_step(ledger.url))
        wait_until(lambda: len(ledger.entries) == 2, seconds=35, what="it fires without the clock")
        late_s = clock.now().timestamp() - slot.timestamp()
        server.kill("deploy.clock", signal.SIGCONT)

        assert late_s < 25


def once(local: str, zone: str) -> dict[str, Any]:
    return {"type": "schedule.once", "params": {"at": local, "zone": zone}}


def slot_step(url: str) -> dict[str, Any]:
    return call_step(url, json={"local": "{{ event.local_time }}"})
