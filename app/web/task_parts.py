"""A task as the pages of a run and of a task show it, in the words of `macros/runs.html`."""

import re
from datetime import datetime
from typing import Any, Final

from flask import url_for

from app import clock
from app.engine import core, known
from app.models import Attempt, State, Task
from app.services.tasks import TaskView
from app.web.clip import clipped
from app.web.filters import sentence
from app.web.questions import shown_question

_STOPPED: Final = frozenset({State.FAILED, State.CANCELED})
_HELD: Final = "held: "
_PATH: Final = re.compile(r"(event|steps|rule|run)\.")
# What an attempt ended as: its badge and the word on it.
_OUTCOMES: Final = {
    "succeeded": ("succeeded", "succeeded"),
    "failed": ("failed", "failed"),
    "retried": ("failed", "failed, to be tried again"),
    "held": ("held", "held"),
    "lost": ("uncertain", "the worker died"),
    "uncertain": ("uncertain", "nobody knows"),
}


def shown_task(view: TaskView) -> dict[str, Any]:
    row = view.row
    params, output = clipped(row.params), clipped(view.output)
    return {
        "id": row.id,
        "state": row.state,
        "due_at": ahead(row.due_at) if row.state is State.WAITING else None,
        "cause": said(row.cause),
        "is_newer": _is_newer(row),
        "question": said(row.cause),
        "sent": shown_question(view),
        "way_out": way_out(row),
        "params": params,
        "output": output,
        "more": [
            name for name, cut in (("params", params != row.params), ("output", output != view.output)) if cut
        ],
        "attempts": [_attempt(attempt, row) for attempt in view.attempts],
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "lost": row.lost,
        "can_retry": row.state in _STOPPED and row.retried_by is None,
        "can_cancel": row.run_id is None and row.state in {State.QUEUED, State.WAITING, State.UNCERTAIN},
    }


def _is_newer(row: Task) -> bool:
    """A rule's step that this release cannot do; tasks of the API may be for programs of your own."""
    if row.run_id is None or row.state is not State.QUEUED:
        return False
    return not known.knows(core.current().catalogue, row.kind, row.action)


def way_out(row: Task) -> dict[str, Any] | None:
    """Where the cause can be mended."""
    if row.connection_id and row.state is State.WAITING and (row.cause or "").startswith(_HELD):
        url = url_for("connections.edit", connection_id=row.connection_id)
        return {"label": "Mend the connection", "url": url, "post": False}
    return None


def said(text: str | None) -> str | None:
    """A cause as a sentence that a page can hold."""
    if not text:
        return None
    plain = text.removeprefix(_HELD)
    # `event.total is 50` begins with a name, and names keep their letters.
    return str(clipped(plain if _PATH.match(plain) else sentence(plain)))


def ahead(due_at: datetime | None) -> datetime | None:
    """None once it has come: then it is only a matter of a worker."""
    return due_at if due_at and due_at > clock.now() else None


def _attempt(attempt: Attempt, row: Task) -> dict[str, Any]:
    state, word = _OUTCOMES.get(attempt.outcome or "", _unfinished(row))
    ended_at = attempt.finished_at
    return {
        "number": attempt.number,
        "started_at": attempt.started_at,
        "took_ms": (ended_at - attempt.started_at).total_seconds() * 1000 if ended_at else None,
        "state": state,
        "word": word,
        "cause": said(attempt.cause),
    }


def _unfinished(row: Task) -> tuple[str, str]:
    return ("running", "running") if row.state is State.RUNNING else ("uncertain", "nobody knows")
