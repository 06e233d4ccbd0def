import pytest


def test_the_catalogue_names_what_is_there(api):
    items = {item["key"]: item for item in api.get("/api/v1/integrations").json["items"]}

    assert {"webhook", "schedule", "manual", "http", "smtp", "slack"} <= set(items)
    assert "http.request" in items["http"]["actions"]
    assert items["webhook"]["triggers"] == ["webhook.received"]


@pytest.mark.parametrize("key", ["webhook", "schedule", "manual", "http", "smtp", "slack"])
def test_every_integration_has_schemas(api, key):
    found = api.get(f"/api/v1/integrations/{key}").json

    for part in found["actions"] + found["triggers"]:
        assert part["params"]["type"] == "object"
        assert part["title"]


def test_secrets_are_marked_write_only(api):
    settings = api.get("/api/v1/integrations/smtp").json["settings"]

    assert settings["properties"]["password"]["writeOnly"] is True


def test_an_unknown_integration_is_not_found(api):
    assert api.get("/api/v1/integrations/nope").status_code == 404
