"""Rules as a program makes them: over the API."""

from collections.abc import Callable
from typing import Any

import pytest

CALL = {
    "key": "call",
    "kind": "action",
    "action": "http.request",
    "connection": None,
    "params": {"method": "POST", "url": "https://shop.example/done", "json": {"order": "{{ event.order }}"}},
}
BIG = {"key": "big", "kind": "filter", "conditions": [{"field": "event.total", "op": "gt", "value": 100}]}
BIG_ORDERS = {
    "name": "Big orders",
    "enabled": True,
    "trigger": {"type": "webhook.received", "params": {}},
    "steps": [BIG, CALL],
}


@pytest.fixture
def make_rule(api) -> Callable[..., dict[str, Any]]:
    """Posts a rule, `Big orders` unless changed, and gives its document."""

    def make(**changes: Any) -> dict[str, Any]:
        answer = api.post("/api/v1/rules", json=BIG_ORDERS | changes)
        assert answer.status_code == 201, answer.text
        return answer.json

    return make


@pytest.fixture
def hook(make_rule) -> str:
    """The path of a rule's address."""
    return make_rule()["hook_url"].removeprefix("http://bitqueue.test")
