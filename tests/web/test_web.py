"""What every page carries: headers, cookies and links that nobody can bend."""

from pathlib import Path

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from app.factory import flask_settings
from app.web import _protect
from tests.conftest import World, make_config


def test_a_page_has_the_headers_that_protect_it(as_owner: FlaskClient):
    headers = as_owner.get("/help").headers

    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Permissions-Policy" in headers
    assert "Strict-Transport-Security" not in headers


def test_a_page_that_does_not_exist_has_them_too(client: FlaskClient, world: World):
    headers = client.get("/nothing").headers

    assert "Content-Security-Policy" in headers
    assert headers["Cache-Control"] == "no-store"


def test_static_files_may_be_kept_by_the_browser(client: FlaskClient):
    with client.get("/static/app.css") as answer:
        assert answer.headers["Cache-Control"] != "no-store"


def test_pages_have_no_inline_script_or_style(as_owner: FlaskClient):
    for path in ("/help", "/team", "/api-keys", "/settings", "/account/password", "/workspaces/new"):
        page = as_owner.get(path)

        assert page.status_code == 200
        assert "<style" not in page.text
        assert " style=" not in page.text
        assert "<script>" not in page.text
        assert " onclick=" not in page.text


def test_the_session_cookie_is_closed_to_scripts_and_other_sites(client: FlaskClient, world: World):
    cookie = client.get("/login").headers["Set-Cookie"]

    assert cookie.startswith("bq_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


@pytest.mark.parametrize(
    ("url", "secure"), [("https://bitqueue.example", True), ("http://bitqueue.example", False)]
)
def test_the_cookie_is_secure_when_the_site_is(tmp_path: Path, url: str, secure: bool):
    assert flask_settings(make_config(tmp_path, PUBLIC_URL=url))["SESSION_COOKIE_SECURE"] is secure


def _echo(*, https: bool) -> FlaskClient:
    app = Flask("echo")
    app.add_url_rule("/", view_func=lambda: f"{request.remote_addr} {request.host} {request.scheme}")
    _protect(app, https=https)
    return app.test_client()


SPOOFED = {
    "X-Forwarded-For": "203.0.113.7, 198.51.100.1",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "gopher",
}


def test_behind_a_proxy_only_the_address_it_added_is_believed():
    answer = _echo(https=True).get("/", headers=SPOOFED)

    assert answer.text == "198.51.100.1 localhost http"
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")


def test_without_a_proxy_nothing_forwarded_is_believed():
    assert _echo(https=False).get("/", headers=SPOOFED).text == "127.0.0.1 localhost http"


def test_a_spoofed_host_does_not_change_where_a_redirect_leads(client: FlaskClient, world: World):
    answer = client.get("/team", headers={"Host": "evil.example", **SPOOFED})

    assert answer.location == "/login?next=/team"


@pytest.mark.parametrize("path", ["/healthz", "/hooks/nobody", "/api/v1/openapi.json"])
def test_a_programs_call_has_no_session(as_owner, path):
    answer = as_owner.get(path)

    assert "Set-Cookie" not in answer.headers
    assert "Cookie" not in answer.headers.get("Vary", "")
