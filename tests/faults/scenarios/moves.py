"""The server moves: to another release and back, and from its backup to another machine."""

import signal
import time
from pathlib import Path

from tests.faults.facts import TERMINAL
from tests.faults.parts import TiedServer
from tests.faults.points import NEWER, Plan
from tests.faults.registry import scenario
from tests.faults.server import Stage
from tests.faults.staging import Setting
from tests.live import command, wait_until

_WEB, _WORKER = "gunicorn", "worker.py"


@scenario(
    "F29", "a newer web with older workers, then newer workers with the older web", "2 3",
    setting=Setting(Plan(newer=[_WEB])),
)  # fmt: skip
def releases_meet(stage: Stage) -> None:
    stage.usual_lanes()
    newer = [
        stage.lane("newer", repeatable=True, action=NEWER),
        stage.task_lane("newer-task", repeatable=False, action=NEWER),
    ]
    # --- what older workers do not know waits, untried; the rest goes on
    stage.send(rate=stage.pace(60), count=stage.events // 2).join()
    wait_until(lambda: not _known_left(stage), seconds=30, what="what is known is done")
    waiting = stage.rows("SELECT id, state, attempt, cause FROM tasks WHERE action = :newer", newer=NEWER)
    meant = sum(sent.lane in newer for sent in stage.generators[0].sent)
    stage.expect(len(waiting) == meant > 0, f"{len(waiting)} tasks of the newer release, not {meant}")
    touched = [row.id for row in waiting if (row.state, row.attempt, row.cause) != ("queued", 0, None)]
    stage.expect(
        not touched, f"older workers touched {len(touched)} tasks that they do not know: {touched[:3]}"
    )
    # --- the workers are upgraded, the web goes back: it still takes and shows what it does not know itself
    Plan(newer=[_WORKER]).write(stage.points_home)
    for name in ("web", "worker"):
        stage.kill(name, number=signal.SIGTERM)
    wait_until(stage.server.answers, seconds=30, what="the web answers again")
    stage.send(
        rate=stage.pace(60),
        count=stage.events // 2,
        lanes=[lane for lane in stage.lanes if lane is not newer[1]],
    )
    stage.quiet()
    stage.expect(set(stage.states()) == {"succeeded"}, f"not all were done: {stage.states()}")
    for task_id in [row.id for row in waiting][:5]:
        with stage.server.api(stage.key) as api:
            answer = api.get(f"/api/v1/tasks/{task_id}")
        stage.expect(answer.status_code == 200, f"the older web shows a task with {answer.status_code}")


def _known_left(stage: Stage) -> int:
    """Tasks that have not ended, of actions that every release knows."""
    found = stage.rows(
        "SELECT count(*) FROM tasks WHERE action <> :newer AND state IN ('queued', 'running', 'waiting')",
        newer=NEWER,
    )
    return int(found[0][0])


@scenario(
    "F30", "a backup under load, the machine dies, restored on another one", "1 4",
    setting=Setting(provider={path: [{"do": "ok", "s": 0.3}] for path in ("/safe", "/once", "/task")}),
)  # fmt: skip
def a_backup_is_restored_elsewhere(stage: Stage) -> None:
    stage.usual_lanes()
    # So that some are still on their way when the machine dies: their callers try again.
    load = stage.send(rate=max(20, stage.events / 30))
    stage.until_sent(0.3)
    in_time = len(load.sent)
    file = stage.home / "one.backup"
    _command(stage, "backup", str(file))
    pids = stage.kill_server()
    time.sleep(0.5)
    # What was acknowledged after the backup is on the machine that died, and nowhere else.
    gone = len(load.sent) - in_time
    del load.sent[in_time:]
    stage.restarts_meant += len(pids)
    stage.redis.start()
    _move_elsewhere(stage)
    _command(stage, "restore", str(file), "--verify")
    settled, asked = _orders(stage, TERMINAL), _orders(stage, {"queued", "running", "waiting"})
    sent = len(stage.provider.entries())
    stage.server.start()
    wait_until(lambda: "running" not in stage.states(), seconds=60, what="the old leases end")
    time.sleep(1.0)
    stage.expect(len(stage.provider.entries()) == sent, "it sent something while outgoing work was held")
    # Who lets go says: do again what had not ended.
    stage.again.update(asked)
    stage.server.cli("release-hold")
    stage.quiet(90)
    again = {entry.order for entry in stage.provider.entries()[sent:]}
    stage.expect(settled, "nothing had ended when the backup was made")
    stage.expect(asked, "nothing was open when the backup was made")
    stage.expect(not settled & again, f"sent again though ended: {sorted(settled & again)[:3]}")
    stage.notes.append(f"{gone} acknowledged after the backup; {len(settled)} ended, {len(asked)} open in it")


def _move_elsewhere(stage: Stage) -> None:
    """From here on the stage's server is another one, at the same address: not started, with nothing in it."""
    home: Path = stage.home / "elsewhere"
    env = stage.server.env | {"BITQUEUE_HOME": str(home)}
    if stage.databases.cluster is None:
        env["DATABASE_URL"] = f"sqlite:///{home}/bitqueue.db"
    else:
        name = "elsewhere_" + env["DATABASE_URL"].rpartition("/")[2]
        stage.databases.cluster.execute(f"CREATE DATABASE {name}")
        env["DATABASE_URL"] = stage.databases.cluster.url(name)
    home.mkdir()
    stage.server = TiedServer(home, stage.server.port, env)


def _command(stage: Stage, name: str, *words: str) -> None:
    done = command(name, stage.server.env, *words)
    if done.returncode:
        raise AssertionError(f"{name}: {done.stderr[-1000:]}")


def _orders(stage: Stage, states: frozenset[str] | set[str]) -> set[str]:
    """What the tasks in these states are for."""
    rows = stage.rows(
        "SELECT t.state, coalesce(t.idempotency_key, e.key) AS name FROM tasks t "
        "LEFT JOIN runs r ON r.id = t.run_id LEFT JOIN events e ON e.id = r.event_id"
    )
    return {str(row.name) for row in rows if row.state in states}
