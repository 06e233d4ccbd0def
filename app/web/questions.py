"""The question of an uncertain task, for who has to answer it: what was being sent, to whom, and when."""

from collections.abc import Mapping
from typing import Any, Final

from app.database import db
from app.engine import confirm, core
from app.models import Connection, State
from app.sdk.declare import Action
from app.services.activity import action_title, line
from app.services.tasks import TaskView
from app.web.clip import clipped

_FIELDS: Final = 8
_NOTHING: Final[tuple[Any, ...]] = (None, "", [], {}, False)


def shown_question(view: TaskView) -> dict[str, Any] | None:
    """None for a task that asks nothing."""
    row = view.row
    if row.state is not State.UNCERTAIN:
        return None
    engine = core.current()
    action = engine.catalogue.action(row.action or "")
    account = db.session.get(Connection, row.connection_id) if row.connection_id else None
    return {
        "what": action_title(engine, row.action),
        "fields": _fields(action, row.params),
        "connection": {"id": account.id, "name": account.name} if account else None,
        "at": next((each.started_at for each in reversed(view.attempts)), row.started_at),
        # Who is being asked without anybody's doing.
        "asks": _integration(row.action) if confirm.is_asked(engine, row) else None,
    }


def _fields(action: Action | None, params: Any) -> list[tuple[str, str]]:
    """The params under the names that the step's form gives them, each in one line."""
    if not isinstance(params, Mapping):
        return []
    titles = (
        {name: field.title or name for name, field in action.params.model_fields.items()} if action else {}
    )
    order = [name for name in titles if name in params] + [name for name in params if name not in titles]
    given = [(titles.get(name, str(name)), params[name]) for name in order if params[name] not in _NOTHING]
    return [(str(clipped(title)), line(value)) for title, value in given[:_FIELDS]]


def _integration(action: str | None) -> str:
    key = (action or "").partition(".")[0]
    found = core.current().catalogue.integrations.get(key)
    return found.title if found else key
