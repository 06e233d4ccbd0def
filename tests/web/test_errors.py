"""Refusals and faults, as pages."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import DataError, OperationalError

from app.errors import ConflictError
from tests.conftest import World


@pytest.fixture
def raising(app: Flask, monkeypatch):
    """Makes the help page raise."""

    def make(error: Exception) -> None:
        def fail() -> None:
            raise error

        fail.is_public = True
        monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
        monkeypatch.setitem(app.view_functions, "help.index", fail)

    return make


def test_a_refusal_is_said_as_a_sentence(client: FlaskClient, world: World, raising):
    raising(ConflictError("the queue <mail> has tasks; move them first"))

    answer = client.get("/help")

    assert answer.status_code == 409
    assert "The queue &lt;mail&gt; has tasks; move them first." in answer.text


def test_a_fault_is_a_calm_page_with_a_reference_that_stands_in_the_log(
    client: FlaskClient, world: World, raising, capsys
):
    raising(RuntimeError("the secret is hunter2"))

    answer = client.get("/help")

    reference = answer.text.partition("<code>")[2].partition("</code>")[0]
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    assert reference.startswith("err_")
    assert reference in capsys.readouterr().err


def test_a_database_that_is_away_is_a_calm_page(client: FlaskClient, world: World, raising):
    raising(OperationalError("SELECT 1", None, Exception("disk I/O error")))

    answer = client.get("/help")

    assert answer.status_code == 503
    assert "Nothing was changed" in answer.text
    assert "disk I/O" not in answer.text


def test_text_that_cannot_be_stored_is_the_senders_fault(client: FlaskClient, world: World, raising):
    raising(DataError("INSERT", None, Exception("NUL")))

    assert client.get("/help").status_code == 400


def test_an_unknown_address_is_a_page(client: FlaskClient, world: World):
    answer = client.get("/no/such/<script>page")

    assert answer.status_code == 404
    assert "<script>page" not in answer.text


def test_a_wrong_method_says_which_are_right(client: FlaskClient, world: World):
    answer = client.delete("/login")

    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_a_form_over_a_megabyte_is_refused(client: FlaskClient, world: World):
    answer = client.post("/login", data={"email": "x" * 1_100_000})

    assert answer.status_code == 413


def test_a_form_of_many_parts_is_refused(client: FlaskClient, world: World):
    parts = "".join(f'--x\r\nContent-Disposition: form-data; name="f{n}"\r\n\r\n1\r\n' for n in range(2_000))

    answer = client.post("/login", data=parts + "--x--\r\n", content_type="multipart/form-data; boundary=x")

    assert answer.status_code == 413


def test_a_query_with_a_nul_is_refused(client: FlaskClient, world: World):
    assert client.get("/login?next=%00").status_code == 400
