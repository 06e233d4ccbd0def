"""How soon what was held up by a fault went on."""

import statistics
from collections.abc import Sequence
from typing import Any

from tests.faults.facts import Known


def recoveries(known: Known) -> list[float]:
    """Seconds from a hurt to each task that it held up going on.

    A task whose worker died: from the kill (or the return of what else was away) until it is claimed again or
    uncertain, not counting the time in which no worker was there. Any other that was open then: from the return
    of what was away until it ended.
    """
    lost = [seconds for task in known.facts.tasks for seconds in _after_death(known, task)]
    return lost + [seconds for task in known.facts.tasks for seconds in _after_return(known, task)]


def _after_death(known: Known, task: Any) -> list[float]:
    pids = {beat.id: beat.pid for beat in known.facts.heartbeats}
    taken = []
    moves = known.moves[task.id]
    for number, move in enumerate(moves):
        if move.old != "running" or move.new == "running" or move.fence_new == move.fence_old:
            continue
        hurts = [
            hurt
            for hurt in known.facts.hurts
            if pids.get(move.worker_id) in hurt.pids and hurt.at_s <= move.at_s
        ]
        if not hurts:
            continue
        claimed = [later.at_s for later in moves[number + 1 :] if later.new == "running"]
        on_again = claimed[0] if move.new == "queued" and claimed else move.at_s
        began = max(hurts[-1].at_s, _last_return(known, move.at_s))
        taken.append(on_again - began - _without_workers(known, began, on_again))
    return taken


def _without_workers(known: Known, from_s: float, until_s: float) -> float:
    """Seconds in which no worker was there at all: how soon processes start is the machine's affair."""
    covered, at_s = 0.0, from_s
    for began, ended in sorted(_lives(known)):
        if ended > at_s and began < until_s:
            covered += min(ended, until_s) - max(began, at_s)
            at_s = max(at_s, min(ended, until_s))
    return (until_s - from_s) - covered


def _lives(known: Known) -> list[tuple[float, float]]:
    """From when until when each worker was there."""
    deaths = {pid: hurt.at_s for hurt in known.facts.hurts for pid in hurt.pids}
    return [
        (beat.started_at, deaths.get(beat.pid, float("inf")))
        for beat in known.facts.heartbeats
        if beat.kind == "worker"
    ]


def _last_return(known: Known, before_s: float) -> float:
    """Of what all stand on: a worker's own return is none."""
    shared = [hurt.until_s for hurt in known.facts.hurts if not hurt.pids and hurt.until_s <= before_s]
    return max(shared, default=0.0)


def _after_return(known: Known, task: Any) -> list[float]:
    if task.lost or task.finished_at is None or not known.facts.hurts or task.attempt > 1:
        return []
    returns = [
        hurt.until_s for hurt in known.facts.hurts if task.created_at < hurt.until_s <= task.finished_at
    ]
    return [task.finished_at - max(returns)] if returns else []


def percentile(values: Sequence[float], percent: int) -> float:
    if len(values) < 2:
        return max(values, default=0.0)
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
