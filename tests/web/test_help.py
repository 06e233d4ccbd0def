"""The help page."""

from flask.testing import FlaskClient


def test_help_is_there_for_everybody_who_is_logged_in(as_viewer: FlaskClient):
    assert "How BitQueue thinks" in as_viewer.get("/help").text
