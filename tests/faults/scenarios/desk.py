"""People and accounts: replays at once, credentials that are revoked."""

import threading
import time
from typing import Any

from tests.faults.points import Plan
from tests.faults.provider import OK
from tests.faults.registry import scenario
from tests.faults.server import Stage
from tests.faults.staging import Setting

_A_MINUTE = 60


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
    stage.lane("account", repeatable=False, connection=account)
    stage.send(rate=40).join()
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


@scenario(
    "F28b",
    "twenty rules on one connection that takes 60 calls a minute",
    "2",
    setting=Setting(provider={"/limited": [{"do": "quota", "a_minute": _A_MINUTE}]}),
    events=3 * _A_MINUTE,
)
def twenty_rules_share_a_limit(stage: Stage) -> None:
    account = _connect(stage)
    with stage.server.api(stage.key) as api:
        api.put(f"/api/v1/connections/{account}/pace", json={"per_minute": _A_MINUTE}).raise_for_status()
    for _ in range(20):
        stage.lane("limited", repeatable=False, connection=account)
    stage.send(rate=40)
    stage.quiet(170)
    states = stage.states()
    stage.expect(set(states) == {"succeeded"}, f"not all were done: {states}")
    over = stage.rows("SELECT count(*) FROM tasks WHERE attempt > 1")[0][0]
    stage.expect(not over, f"{over} tasks used up an attempt by waiting")
    calls = [entry for entry in stage.provider.entries() if entry.path == "/limited"]
    taken = sorted(entry.at_s for entry in calls if entry.accepted)
    whole = [minute for minute in range(3) if taken[-1] - taken[0] >= 60 * (minute + 1)]
    used = [sum(0 <= at - taken[0] - 60 * minute < 60 for at in taken) / _A_MINUTE for minute in whole]
    stage.expect(used and min(used) >= 0.95, f"of its quota it used {used} in each whole minute")
    stage.notes.append(
        f"{len(calls) - len(taken)} refused, quota used {', '.join(f'{part:.0%}' for part in used)}"
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
