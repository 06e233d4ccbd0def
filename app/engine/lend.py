"""Making the context that an integration's function gets for one call."""

from app import clock
from app.engine.core import Engine
from app.engine.files import FileStore
from app.engine.memory import TaskMemory
from app.engine.meter import UsageMeter
from app.sdk.context import Context


def lend(
    engine: Engine,
    function: str,
    *,
    workspace_id: str,
    key: str,
    connection_id: str | None = None,
    rule_id: str | None = None,
    depth: int = 0,
) -> Context:
    """`function` is the action or trigger, `slack.message`; `key` is the same on every attempt of one task."""
    return Context(
        http=engine.http,
        guard=engine.guard,
        now=clock.now(),
        idempotency_key=key,
        base_url=engine.base_url(function.partition(".")[0]),
        depth=depth,
        files=FileStore(engine.database, engine.writer, workspace_id),
        memory=TaskMemory(engine.database, engine.writer, workspace_id, key),
        meter=UsageMeter(engine.writer, workspace_id, connection_id, rule_id),
    )
