"""Downloading a stored file."""

from datetime import timedelta

import pytest

from app import clock
from app.engine.files import FileStore
from app.models import File
from app.sdk.context import FileRef


@pytest.fixture
def save(engine, world):
    store = FileStore(engine.database, engine.writer, world.workspace.id)
    return lambda name, media_type, body: store.save(name, media_type, [body])


def test_a_viewer_downloads_a_file_whole(save, as_viewer):
    body = bytes(range(256)) * 3_000
    file = save("größe.pdf", "application/pdf", body)

    answer = as_viewer.get(f"/files/{file.id}")

    assert answer.data == body
    assert answer.content_length == len(body)
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename=\"gr__e.pdf\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.pdf"
    )


@pytest.mark.parametrize("media_type", ["text/html", "image/svg+xml", "text/html\r\nX: y", "nonsense", ""])
def test_nothing_in_a_file_runs_as_a_page_of_ours(save, as_viewer, media_type):
    file = save('x"; filename="y.html', media_type, b"<script>alert(1)</script>")

    answer = as_viewer.get(f"/files/{file.id}")

    assert answer.headers["Content-Disposition"].startswith('attachment; filename="x__ filename__y.html"')
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.content_type in (media_type, "application/octet-stream")
    assert "X" not in answer.headers


def test_a_file_of_another_workspace_is_not_found(save, as_stranger):
    assert as_stranger.get(f"/files/{save('x', 'text/plain', b'x').id}").status_code == 404


def test_a_file_that_has_expired_is_not_found(save, as_viewer, session):
    file = save("x", "text/plain", b"x")
    session.rollback()
    session.get(File, file.id).expires_at = clock.now() - timedelta(seconds=1)
    session.commit()

    assert as_viewer.get(f"/files/{file.id}").status_code == 404


def test_a_reference_in_a_run_is_a_link(app, save):
    file = save("bill <1>.pdf", "application/pdf", b"x" * 2048)
    other = FileRef(id="fil_" + "0" * 26, name="x").model_dump()

    shown = tree(app, {"file": file.model_dump(), "odd": {**other, "bytes": "many"}, "id": {"id": "fil_1"}})

    assert f'<a href="/files/{file.id}" download>bill &lt;1&gt;.pdf</a>' in shown
    assert "application/pdf, 2.0 KB" in shown
    assert shown.count("<a ") == 1


def tree(app, value):
    with app.test_request_context():
        return str(app.jinja_env.get_template("macros/ui.html").module.tree(value))
