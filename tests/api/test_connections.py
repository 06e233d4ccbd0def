import base64

import pytest
import sqlalchemy as sa

from app.models import Connection
from tests.api.conftest import CALL

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, ok").decode()
SHOP = {"integration": "webhook", "name": "Shop", "settings": {"secret": SECRET}}


@pytest.fixture
def shop(api) -> dict:
    return api.post("/api/v1/connections", json=SHOP).json


def test_a_connection_is_shown_without_its_secret(api, shop, session):
    assert shop["id"].startswith("con_")
    assert (shop["integration"], shop["name"], shop["healthy"]) == ("webhook", "Shop", True)
    for path in ("/api/v1/connections", f"/api/v1/connections/{shop['id']}"):
        assert SECRET not in api.get(path).text
    assert SECRET not in session.scalar(sa.select(Connection.sealed))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"settings": {}}, "secret"),
        ({"settings": {"secret": SECRET, "scheme": "magic"}}, "scheme"),
        ({"settings": {"secret": SECRET, "unknown": 1}}, "unknown"),
        ({"settings": []}, "settings"),
        ({"name": "  "}, "name"),
    ],
)
def test_a_connection_that_is_not_complete_is_refused_by_field(api, change, field):
    answer = api.post("/api/v1/connections", json=SHOP | change)

    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json["errors"]}
    assert SECRET not in answer.text


def test_an_unknown_integration_is_not_found(api):
    assert api.post("/api/v1/connections", json=SHOP | {"integration": "nope"}).status_code == 404


def test_what_does_not_work_is_not_kept(api, session):
    settings = {"host": "127.0.0.1", "port": 9, "security": "starttls", "username": "u", "password": "p" * 12,
                "sender": "a@example.com"}  # fmt: skip

    answer = api.post(
        "/api/v1/connections", json={"integration": "smtp", "name": "Mail", "settings": settings}
    )

    assert answer.status_code in {422, 503}
    assert answer.content_type == "application/problem+json"
    assert session.scalar(sa.select(sa.func.count()).select_from(Connection)) == 0
    assert "p" * 12 not in answer.text


def test_a_change_keeps_the_secret_that_is_left_out_or_sent_back_as_dots(api, shop, session):
    path = f"/api/v1/connections/{shop['id']}"

    renamed = api.patch(path, json={"name": "Store"}).json
    same = api.patch(path, json={"settings": shop["settings"]}).json

    assert (renamed["name"], same["name"]) == ("Store", "Store")
    assert same["settings"] == shop["settings"]


def test_a_connection_is_checked_on_demand(api, shop):
    answer = api.post(f"/api/v1/connections/{shop['id']}/check").json

    assert answer["works"] is True
    assert answer["detail"]


def test_a_connection_in_use_is_not_deleted(api, shop, make_rule):
    make_rule(trigger={"type": "webhook.received", "params": {}, "connection": shop["id"]}, steps=[CALL])

    answer = api.delete(f"/api/v1/connections/{shop['id']}")

    assert answer.status_code == 409
    assert "Big orders" in answer.json["detail"]


def test_a_connection_that_nothing_uses_is_deleted(api, shop):
    assert api.delete(f"/api/v1/connections/{shop['id']}").status_code == 204
    assert api.get(f"/api/v1/connections/{shop['id']}").status_code == 404
