"""Many events straight into the engine, as hooks would bring them: `python -m tests.faults.filler RULE COUNT`."""

import sys

import sqlalchemy as sa

from app import foundation
from app.config import Config
from app.database import db
from app.engine import enqueue
from app.engine.core import Engine
from app.engine.enqueue import Armed, Arrival
from app.models import Rule, RuleVersion, Trigger
from app.sdk.declare import Occurrence

_BATCH = 200


def _armed(engine: Engine, rule_id: str) -> Armed:
    wanted = (Rule.workspace_id, Trigger.id, Trigger.type, Rule.id, RuleVersion.id)
    found = sa.select(*wanted).join(Trigger, Trigger.rule_id == Rule.id).join(RuleVersion)
    with engine.database.connect() as connection:
        return Armed(*connection.execute(found.where(Rule.id == rule_id)).one())


def main(rule_id: str, count: int) -> None:
    app = foundation.lay(Config.from_environment())
    engine = app.extensions["engine"]
    armed = _armed(engine, rule_id)
    for first in range(0, count, _BATCH):
        orders = [f"filled-{number}" for number in range(first, min(first + _BATCH, count))]
        arrivals = [Arrival(armed, Occurrence(order, {"order": order})) for order in orders]
        engine.writer.submit(lambda connection, some=arrivals: enqueue.store_events(connection, some))
    with app.app_context():
        db.engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
