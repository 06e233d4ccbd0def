from datetime import UTC, datetime

import pytest

from app.sdk.addresses import AddressGuard
from app.sdk.declare import Context, InboundRequest
from app.sdk.http import HttpClient

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture
def guard():
    """Admits the stand-in servers of this machine."""
    return AddressGuard(allow_private=True)


@pytest.fixture
def ctx(guard):
    client = HttpClient(guard)
    yield Context(client, guard, NOW, idempotency_key="tsk_1")
    client.close()


@pytest.fixture
def strict_ctx():
    """As an operator has it who allows no private networks."""
    guard = AddressGuard()
    client = HttpClient(guard)
    yield Context(client, guard, NOW, idempotency_key="tsk_1")
    client.close()


@pytest.fixture
def unsigned_call():
    return InboundRequest(
        "POST", {"content-type": "application/json"}, {}, b'{"total": 150}', NOW, "https://bq.example/hooks/x"
    )
