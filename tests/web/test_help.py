"""The help page, and the manual of each integration."""

import re

import pytest
from flask.testing import FlaskClient
from markupsafe import escape

from app import integrations
from app.web.oauth import typed_only

INTEGRATIONS = list(integrations.load())


def test_help_is_there_for_everybody_who_is_logged_in(as_viewer: FlaskClient):
    page = as_viewer.get("/help").text

    assert "How BitQueue thinks" in page
    assert 'href="/help/integrations"' in page


def test_every_integration_is_listed(as_viewer: FlaskClient):
    page = as_viewer.get("/help/integrations").text

    for each in INTEGRATIONS:
        assert f'href="/help/integrations/{each.key}"' in page
        assert str(escape(each.title)) in page


@pytest.mark.parametrize(
    ("text", "found"),
    [("mail send", "smtp"), ("MAIL IN", "imap"), ("  calculate ", "text"), ("csv", "files")],
)
def test_the_list_is_searched_by_words_of_titles_and_actions(as_viewer: FlaskClient, text, found):
    page = as_viewer.get("/help/integrations", query_string={"text": text}).text

    assert f'href="/help/integrations/{found}"' in page
    assert 'href="/help/integrations/schedule"' not in page


@pytest.mark.parametrize("text", ["lighthouse", "<script>", "%", "x" * 5000])
def test_a_search_that_finds_nothing_says_so(as_viewer: FlaskClient, text):
    page = as_viewer.get("/help/integrations", query_string={"text": text}).text

    assert "No integration fits" in page
    assert "<script>" not in page


@pytest.mark.parametrize("integration", INTEGRATIONS, ids=lambda one: one.key)
def test_the_manual_names_every_field_action_and_trigger(as_viewer: FlaskClient, integration):
    page = as_viewer.get(f"/help/integrations/{integration.key}").text

    parts = [*integration.actions.values(), *integration.triggers.values()]
    for part in parts:
        assert f"<code>{part.key}</code>" in page
        assert str(escape(part.title)) in page
        assert_fields(page, part.params)
    assert page.count("A sample") == len(parts)
    if integration.settings:
        assert "How to connect" in page


def assert_fields(page, model):
    for name, info in model.model_fields.items():
        assert f"<code>{name}</code>" in page, name
        assert str(escape(info.title)) in page, name
        if info.description:
            assert str(escape(info.description[1:])) in page, name


@pytest.mark.parametrize(
    "integration", [one for one in INTEGRATIONS if one.settings], ids=lambda one: one.key
)
def test_the_manual_tells_how_to_connect_and_where_each_value_is_found(as_viewer: FlaskClient, integration):
    page = as_viewer.get(f"/help/integrations/{integration.key}").text

    assert str(escape(" ".join((integration.settings.__doc__ or "").split())[:60])) in " ".join(page.split())
    typed = typed_only(
        integration.settings, [{"name": f"p_{name}"} for name in integration.settings.model_fields]
    )
    for name in (each["name"][2:] for each in typed):
        info = integration.settings.model_fields[name]
        assert f"<code>{name}</code>" in page, name
        where = (info.json_schema_extra or {}).get("where", "")
        assert str(escape(where[1:])) in page, name


def test_an_anchor_is_there_once(as_viewer: FlaskClient):
    for integration in INTEGRATIONS:
        page = as_viewer.get(f"/help/integrations/{integration.key}").text
        ids = re.findall(r'\bid="([^"]+)"', page)
        assert len(ids) == len(set(ids)), integration.key


def test_an_unknown_integration_is_not_found(as_viewer: FlaskClient):
    assert as_viewer.get("/help/integrations/lighthouse").status_code == 404


def test_forms_lead_to_the_manual(as_member: FlaskClient):
    assert 'href="/help/integrations/smtp"' in as_member.get("/connections/new?integration=smtp").text


def test_a_viewer_is_not_sent_to_a_form(as_viewer: FlaskClient, as_member: FlaskClient):
    assert "/connections/new" not in as_viewer.get("/help/integrations/smtp").text
    assert "/connections/new?integration=smtp" in as_member.get("/help/integrations/smtp").text
