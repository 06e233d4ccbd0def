"""Redis that dies, comes back empty, stops or refuses."""

from tests.faults.recovery import percentile
from tests.faults.registry import scenario
from tests.faults.server import Stage
from tests.faults.staging import repeatedly


@scenario("F6", "Redis killed and restarted empty; then down for a minute", "1 3")
def redis_is_away(stage: Stage) -> None:
    stage.usual_lanes()
    away_s = 15.0 if stage.events <= 200 else 60.0
    load = stage.send(rate=stage.events / (away_s + 4))
    stage.until_sent(0.1)
    stage.kill_redis()
    stage.until_sent(0.2)
    stage.kill_redis(away_s)
    stage.quiet()
    stage.expect(not load.failures, f"calls failed while redis was away: {load.failures}")


@scenario("F7", "`FLUSHALL` five times under load", "1 3", quick=True)
def redis_is_emptied(stage: Stage) -> None:
    stage.usual_lanes()
    load = stage.send(rate=stage.pace(50))
    client = stage.redis.client()

    def flush() -> None:
        with stage.away("flushall"):
            client.flushall()

    repeatedly(stage.events / 50 / 6, flush, while_=lambda: load.is_running, most=5)
    stage.quiet()
    client.close()
    seen = stage.rows("SELECT count(*) FROM heartbeats WHERE kind = 'worker' AND gone_at IS NULL")[0][0]
    stage.expect(seen == 2, f"our own list shows {seen} workers, not 2")
    stage.expect(not load.failures, f"calls failed: {load.failures}")


@scenario("F8", "Redis stopped (`SIGSTOP`) for 12 s, and for 60 s in full mode", "1 3")
def redis_is_stopped(stage: Stage) -> None:
    stage.usual_lanes()
    for_s = (12.0,) if stage.events <= 200 else (12.0, 60.0)
    load = stage.send(rate=stage.events / (sum(for_s) + 4))
    for seconds in for_s:
        stage.until_sent(0.1)
        stage.hold_redis(seconds)
    stage.quiet()
    slow = percentile(load.latencies_s, 99)
    stage.expect(slow < 2, f"the web's p99 was {slow:.1f} s while redis stood still")
    stage.expect(not load.failures, f"calls failed: {load.failures}")
    stage.notes.append(f"web p99 {slow * 1000:.0f} ms")


@scenario("F9", "Redis out of memory; then read-only", "1 3")
def redis_refuses_writes(stage: Stage) -> None:
    stage.usual_lanes()
    load = stage.send(rate=stage.events / 14)
    client = stage.redis.client()
    stage.until_sent(0.2)
    with stage.away("redis out of memory"):
        client.config_set("maxmemory", "1")
        stage.until_sent(0.5)
        client.config_set("maxmemory", "0")
    with stage.away("redis read-only"):
        client.replicaof("127.0.0.1", "1")
        stage.until_sent(0.8)
        client.replicaof("NO", "ONE")
    client.close()
    stage.quiet()
    stage.expect(not load.failures, f"calls failed: {load.failures}")
