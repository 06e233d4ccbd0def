"""Actions that kill their worker, and machines with little left."""

import re
import resource
import time

from tests.faults.points import Plan, Point
from tests.faults.registry import scenario
from tests.faults.scales import Scales
from tests.faults.server import Stage
from tests.faults.staging import Setting


def _deadly(point: Point, **environ: str) -> Setting:
    return Setting(Plan(points=[point]), {"/safe": [{"do": "ok", "s": 0.1}]}, environ)


def _expect_one_failed(stage: Stage) -> None:
    rows = stage.rows("SELECT state, cause, lost FROM tasks WHERE lost >= 3 OR state = 'failed'")
    stage.expect(len(rows) == 1, f"{len(rows)} tasks were given up, not the deadly one alone")
    for state, cause, lost in rows:
        stage.expect(
            state == "failed" and lost == 3 and "worker died" in cause,
            f"it is {state} ({cause}), lost {lost}",
        )


@scenario(
    "F24",
    "an action that ends its process",
    "2",
    setting=_deadly(Point("in_action", given="deadly", times=9, process="worker.py")),
)
def an_action_kills_its_worker(stage: Stage) -> None:
    safe, deadly = stage.lane("safe", repeatable=True), stage.lane("deadly", repeatable=True)
    stage.send(rate=stage.pace(50), lanes=[safe])
    stage.send(rate=1, count=1, lanes=[deadly])
    stage.quiet(150)
    stage.heed_points()
    _expect_one_failed(stage)


@scenario(
    "F24b",
    "an action that spins and lets no greenlet run",
    "2",
    setting=_deadly(Point("in_action", do="hold", hold_s=40, given="deadly", times=9, process="worker.py")),
)
def an_action_spins(stage: Stage) -> None:
    safe, deadly = stage.lane("safe", repeatable=True), stage.lane("deadly", repeatable=True)
    stage.send(rate=stage.pace(50), lanes=[safe])
    stage.send(rate=1, count=1, lanes=[deadly])
    stage.quiet(200)
    stage.heed_points()
    _expect_one_failed(stage)


_MEMORY_MB = 400


@scenario(
    "F24c",
    "an action that eats memory",
    "2",
    setting=_deadly(
        Point("in_action", do="eat", given="deadly", times=9, process="worker.py"),
        WORKER_MEMORY_MB=str(_MEMORY_MB),
    ),
)
def an_action_eats_memory(stage: Stage) -> None:
    safe, deadly = stage.lane("safe", repeatable=True), stage.lane("deadly", repeatable=True)
    with Scales(stage, every_s=0.05) as scales:
        stage.send(rate=stage.pace(50), lanes=[safe])
        stage.send(rate=1, count=1, lanes=[deadly])
        stage.quiet(150)
    stage.heed_points()
    _expect_one_failed(stage)
    told = [int(mb) for mb in re.findall(r"worker_eats: it takes (\d+) MB", stage.server.log())]
    stage.expect(len(told) == 3, f"{len(told)} workers ended for their memory, not three")
    peak_mb = max([*told, scales.most("worker") >> 20])
    stage.expect(peak_mb < _MEMORY_MB + 300, f"a worker took {peak_mb} MB and may take {_MEMORY_MB}")
    stage.notes.append(f"peak of a worker {peak_mb} MB")


@scenario("F26", "few file descriptors, then enough", "1 3")
def few_file_descriptors(stage: Stage) -> None:
    stage.usual_lanes()
    stage.send(rate=stage.events / 14)
    stage.until_sent(0.2)
    pids = stage.children("web") + stage.children("worker")
    kept = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    with stage.away("file descriptors"):
        for vitals in stage.vitals():
            if vitals.pid in kept:
                limit = (vitals.files + 2, kept[vitals.pid][1])
                resource.prlimit(vitals.pid, resource.RLIMIT_NOFILE, limit)
        time.sleep(6)
        for pid, limit in kept.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    stage.quiet(90)
