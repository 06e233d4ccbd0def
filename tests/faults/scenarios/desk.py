"""People and accounts: replays at once, credentials that are revoked."""

import threading
import time
from typing import Any

from tests.faults.points import Plan
from tests.faults.provider import OK
from tests.faults.registry import scenario
from tests.faults.server import Stage
from tests.faults.staging import Setting


@scenario(
    "F27",
    "failed tasks retried by two people at once while the provider still fails",
    "2 4",
    events=1000,
)
def failed_tasks_are_retried_by_two(stage: Stage) -> None:
    stage.provider.plan({"/task": [{"do": "status", "status": 422}]})
    stage.task_lane("task", repeatable=False)
    load = stage.send(rate=80)
    load.join()
    stage.quiet()
    stage.again.update(sent.order for sent in load.sent)
    failed = [row[0] for row in stage.rows("SELECT id FROM tasks WHERE state = 'failed'")]
    stage.expect(len(failed) == stage.events, f"{len(failed)} tasks failed, not {stage.events}")
    threads = [threading.Thread(target=_retry, args=(stage, list(failed))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    stage.quiet()
    made = stage.rows("SELECT retry_of, count(*) FROM tasks WHERE retry_of IS NOT NULL GROUP BY retry_of")
    stage.expect(len(made) == len(failed), f"{len(made)} of {len(failed)} were retried")
    stage.expect(all(row[1] == 1 for row in made), "two clicks on one task made two")


def _retry(stage: Stage, ids: list[str]) -> None:
    with stage.server.api(stage.key) as api:
        for task_id in ids:
            answer = api.post(f"/api/v1/tasks/{task_id}/retry")
            stage.expect(answer.status_code in {202, 409}, f"a retry was answered with {answer.status_code}")


@scenario(
    "F28",
    "credentials revoked while runs are queued, then reconnected",
    "2",
    setting=Setting(Plan(fast_retries=True)),
    events=50,
)
def credentials_are_revoked(stage: Stage) -> None:
    stage.provider.plan({"/account": [{"do": "status", "status": 401}]})
    account = _connect(stage)
    call = stage.call("account", repeatable=False)
    step = {"key": "call", "kind": "action", "action": "http.request", "connection": account, "params": call}
    document = {"name": "account", "enabled": True, "trigger": {"type": "webhook.received", "params": {}}}
    lane = stage.lane("unused", repeatable=False)
    with stage.server.api(stage.key) as api:
        made = api.post("/api/v1/rules", json=document | {"steps": [step]})
        assert made.status_code == 201, made.text
    revoked = type(lane)("account", made.json()["hook_url"], {}, False, {"order": "ORDER"})
    stage.once.add("account")
    stage.send(rate=40, lanes=[revoked]).join()
    time.sleep(3)
    held = stage.states()
    stage.expect(held.get("waiting", 0) == stage.events, f"not all are held: {held}")
    tried = len(stage.provider.entries())
    # Those that were under way when the first was refused.
    stage.expect(tried < 120, f"a refused account was tried {tried} times")
    stage.provider.plan({"/account": [OK]})
    _reconnect(stage, account)
    stage.quiet(60)
    stage.expect(
        set(stage.states()) == {"succeeded"}, f"not all were done after reconnecting: {stage.states()}"
    )


def _settings(stage: Stage) -> dict[str, Any]:
    host = f"127.0.0.1:{stage.provider.port}"
    return {
        "auth": "bearer",
        "secret": "a token to revoke",
        "hosts": host,
        "check_url": stage.provider.url("check"),
    }


def _connect(stage: Stage) -> str:
    body = {"integration": "http", "name": "account", "settings": _settings(stage)}
    with stage.server.api(stage.key) as api:
        answer = api.post("/api/v1/connections", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def _reconnect(stage: Stage, account: str) -> None:
    with stage.server.api(stage.key) as api:
        answer = api.patch(f"/api/v1/connections/{account}", json={"settings": _settings(stage)})
    assert answer.status_code == 200, answer.text
