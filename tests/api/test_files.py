"""Files over the API."""

import io

import pytest

from app.engine.files import FileStore
from app.models import File, FileChunk
from app.sdk.context import MAX_FILE_BYTES
from tests import factories


def test_a_file_is_brought_in_as_a_body_and_taken_out_again(api):
    sent = api.post("/api/v1/files?name=gr%C3%B6%C3%9Fe.csv", data=b"a;b\r\n", content_type="text/csv")

    assert sent.status_code == 201
    assert sent.json | {"id": "", "sha256": ""} == {
        "id": "", "name": "größe.csv", "type": "text/csv", "bytes": 5, "sha256": "",
    }  # fmt: skip
    got = api.get(f"/api/v1/files/{sent.json['id']}")
    assert (got.data, got.headers["X-Content-Type-Options"]) == (b"a;b\r\n", "nosniff")
    assert got.headers["Content-Disposition"].startswith("attachment;")


def test_a_file_is_brought_in_as_a_form(api):
    form = {"file": (io.BytesIO(b"%PDF" * 100_000), "../bill.pdf", "application/pdf")}

    sent = api.post("/api/v1/files", data=form)

    assert (sent.status_code, sent.json["name"], sent.json["type"]) == (201, "bill.pdf", "application/pdf")
    assert api.get(f"/api/v1/files/{sent.json['id']}").data == b"%PDF" * 100_000


def test_the_largest_file_is_taken_and_one_byte_more_is_not(api):
    most = api.post("/api/v1/files?name=x", data=bytes(MAX_FILE_BYTES))
    more = api.post("/api/v1/files?name=x", data=bytes(MAX_FILE_BYTES + 1))

    assert (most.status_code, most.json["bytes"]) == (201, MAX_FILE_BYTES)
    assert (more.status_code, more.content_type) == (413, "application/problem+json")


def test_a_body_without_a_length_is_refused_at_the_limit(api, session):
    for size in (MAX_FILE_BYTES + 1, MAX_FILE_BYTES + 1024 * 1024):
        answer = api.post(
            "/api/v1/files?name=x",
            input_stream=io.BytesIO(bytes(size)),
            environ_overrides={"wsgi.input_terminated": True},
        )
        assert answer.status_code == 413

    assert session.query(File).count() == 0


def test_a_body_that_ends_early_is_no_file(api, session):
    answer = api.post(
        "/api/v1/files?name=x",
        input_stream=io.BytesIO(b"half"),
        environ_overrides={"CONTENT_LENGTH": "1000"},
    )

    assert answer.status_code == 400
    assert session.query(File).count() == 0


@pytest.mark.parametrize(
    ("query", "request_", "status", "words"),
    [
        ("", {"data": b"x"}, 422, "name the file"),
        ("?name=", {"data": b"x"}, 400, "not valid"),
        ("?name=a%00b", {"data": b"x"}, 400, "not valid"),
        ("?nom=x", {"data": b"x"}, 400, "not valid"),
        ("", {"data": {"a": "b"}, "content_type": "multipart/form-data"}, 422, "one file"),
        ("", {"data": {"a": (io.BytesIO(b"1"), "1"), "b": (io.BytesIO(b"2"), "2")}}, 422, "one file"),
        ("", {"data": b"nonsense", "content_type": "multipart/form-data"}, 422, "one file"),
        (
            "",
            {"data": {f"n{n}": "x" for n in range(50)}, "content_type": "multipart/form-data"},
            413,
            "large",
        ),
    ],
)
def test_what_is_no_file_is_refused(api, session, query, request_, status, words):
    answer = api.post(f"/api/v1/files{query}", **request_)

    assert answer.status_code == status
    assert words in answer.json["detail"]
    assert session.query(FileChunk).count() == 0


def test_an_empty_file_is_one(api):
    sent = api.post("/api/v1/files?name=empty.txt", data=b"")

    assert (sent.status_code, sent.json["bytes"]) == (201, 0)
    assert api.get(f"/api/v1/files/{sent.json['id']}").data == b""


def test_a_key_that_may_only_read_takes_out_and_brings_nothing_in(app, engine, world):
    factories.ApiKeyFactory(
        workspace_id=world.workspace.id, user_id=world.owner.id, text="bq_read", scopes=("read",)
    )
    file = FileStore(engine.database, engine.writer, world.workspace.id).save("x", "text/plain", [b"x"])
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer bq_read"

    assert client.get(f"/api/v1/files/{file.id}").data == b"x"
    assert client.post("/api/v1/files?name=x", data=b"x").status_code == 403


def test_a_file_of_another_workspace_is_not_found(api, engine, world):
    file = FileStore(engine.database, engine.writer, world.other_workspace.id).save("x", "text/plain", [b"x"])

    assert api.get(f"/api/v1/files/{file.id}").status_code == 404
