"""What arrives many times at once, and what stands in Redis that is none of ours."""

import json
import threading
from collections import Counter

import httpx2

from tests.faults.registry import scenario
from tests.faults.server import Stage

AT_ONCE = 100
_DRAIN = "rq:queue:bitqueue-drain"


@scenario("F22", "the same event 100 times at once", "6", quick=True)
def one_event_comes_a_hundred_times(stage: Stage) -> None:
    stage.usual_lanes()
    hook, task = stage.lanes[1], stage.lanes[2]
    answers: Counter[str] = Counter()
    for number in range(max(2, stage.events // AT_ONCE)):
        for lane in (hook, task):
            order = f"{lane.name}-same-{number}"
            answers += _at_once(
                lane.url, dict(lane.headers), json.loads(json.dumps(lane.body).replace("ORDER", order)), order
            )
    stage.quiet()
    wrong = {name: count for name, count in answers.items() if not name.startswith("202")}
    stage.expect(not wrong, f"answers other than 202: {wrong}")
    counts = stage.rows("SELECT key, duplicates FROM events WHERE key LIKE '%same%'")
    stage.expect(counts and all(row[1] == AT_ONCE - 1 for row in counts), f"duplicates counted: {counts}")
    doubled = stage.rows(
        "SELECT idempotency_key, count(*) FROM tasks WHERE idempotency_key LIKE '%same%' GROUP BY 1 HAVING count(*) > 1"
    )
    stage.expect(not doubled, f"tasks made twice for one key: {doubled}")
    reached = Counter(entry.order for entry in stage.provider.entries())
    stage.expect(max(reached.values()) == 1, "one event reached the provider more than once")


def _at_once(url: str, headers: dict[str, str], body: object, key: str) -> Counter[str]:
    answers: Counter[str] = Counter()
    gate = threading.Barrier(AT_ONCE)

    def call() -> None:
        gate.wait(30)
        try:
            answer = httpx2.post(url, json=body, headers={**headers, "Idempotency-Key": key}, timeout=30)
            answers[str(answer.status_code)] += 1
        except httpx2.HTTPError as error:
            answers[type(error).__name__] += 1

    threads = [threading.Thread(target=call) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


@scenario("F23", "RQ jobs duplicated, unknown and with damaged hashes", "3")
def strange_jobs_stand_in_redis(stage: Stage) -> None:
    stage.usual_lanes()
    load = stage.send(rate=stage.pace(40))
    client = stage.redis.client()
    stage.until_sent(0.2)
    for number in range(20):
        strange = f"strange-{number}"
        client.hset(f"rq:job:{strange}", mapping=_HASHES[number % len(_HASHES)])
        client.rpush(_DRAIN, strange, strange, f"missing-{number}")
        known = client.keys("rq:job:*")
        client.rpush(_DRAIN, known[number % len(known)].removeprefix(b"rq:job:"))
    load.join()
    client.close()
    stage.quiet()
    stage.expect(not load.failures, f"calls failed: {load.failures}")
    stage.expect(len(stage.pids("worker")) == 2, "a worker has died of a strange job")


_HASHES = (
    {"data": "not compressed, not json", "created_at": "yesterday", "origin": "bitqueue-drain"},
    {"data": b"\x80\x04\x95cos\nsystem\n", "created_at": "2026-01-01T00:00:00.000000Z"},
    {
        "data": json.dumps(["os.system", None, ["true"], {}]),
        "created_at": "2026-01-01T00:00:00.000000Z",
        "status": "queued",
    },
    {"status": "queued"},
)
