"""Many runs that append to one sheet at the same time: each row once, and no more calls than the service takes."""

from collections.abc import Iterator
from dataclasses import replace

import gevent
import pytest
import sqlalchemy as sa

from app import clock
from app.database import write_connection
from app.engine import secrets, tick
from app.engine.core import Engine
from app.engine.work import Worker
from app.models import Connection, Pace, Run, Task
from app.sdk.addresses import AddressGuard
from app.sdk.http import HttpClient
from tests import factories
from tests.engine.conftest import Bench, bench, provider, step
from tests.providers.google import google_server, service_account_key
from tests.providers.google_sheets import BOOK, SheetsApi

__all__ = ["bench", "provider"]

ROWS, AT_ONCE, A_MINUTE = 500, 20, 450


@pytest.fixture
def sheets() -> SheetsApi:
    return SheetsApi(Orders=[["Order", "Total"]])


@pytest.fixture
def engine(engine: Engine, sheets: SheetsApi) -> Iterator[Engine]:
    with google_server(sheets) as server:
        guard = AddressGuard(allow_private=True)
        config = engine.config.model_copy(
            update={"provider_base_urls": {"google_sheets": server.url}, "worker_concurrency": AT_ONCE}
        )
        reached = replace(engine, guard=guard, http=HttpClient(guard), config=config)
        yield reached
        reached.http.close()


def account(bench: Bench) -> str:
    row_id = bench.add(
        factories.ConnectionFactory, integration="google_sheets", settings={"method": "service_account"}
    )
    sealed = secrets.seal(
        bench.engine.keyring, {"service_account_key": service_account_key()}, bound_to=row_id
    )
    pace = {"connection_id": row_id, "workspace_id": bench.workspace_id, "per_minute": A_MINUTE}
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.update(Connection).where(Connection.id == row_id).values(sealed=sealed))
        connection.execute(sa.insert(Pace), pace | {"calls": [], "turns": [], "failures": 0})
    return row_id


@pytest.mark.slow
def test_500_rows_by_20_runs_at_once_are_500_rows_and_no_call_is_refused(bench: Bench, sheets: SheetsApi):
    sheets.quota(reads=10_000, writes=A_MINUTE, window_s=60)
    params = {"spreadsheet": BOOK, "sheet": "Orders", "row": {"Order": "{{ event.n }}", "Total": 1}}
    tell = step("tell", connection=account(bench)) | {"action": "google_sheets.append_row", "params": params}
    armed = bench.arm(tell)
    for n in range(ROWS):
        bench.accept(armed, {"n": n})
    worker = Worker(bench.engine)

    give_up_at = clock.now().timestamp() + 240
    while {run.state for run in bench.rows(Run)} != {"succeeded"} and clock.now().timestamp() < give_up_at:
        worker.drain()
        worker.pool.join(60)
        bench.write(tick.queue_due)
        gevent.sleep(0.5)

    assert {run.state for run in bench.rows(Run)} == {"succeeded"}
    assert sorted(int(row[0]) for row in sheets.rows("Orders")[1:]) == list(range(ROWS))
    # None was refused, and so none was tried twice.
    assert {task.attempt for task in bench.rows(Task)} == {1}
    assert len(sheets.written_at) == ROWS
