import json

import pytest

from app.engine import payloads
from app.engine.files import FileStore
from app.models import Payload
from app.sdk.context import FileRef


@pytest.mark.parametrize(
    "value", [None, 0, "", "text", {"a": [1, 2.5, None, True]}, "a\x00b\ud800", "größer"]
)
def test_a_small_value_stays_inline(bench, value):
    stored = bench.write(lambda connection: payloads.store(connection, bench.workspace_id, value))

    assert stored == (value, None)
    assert bench.rows(Payload) == []


@pytest.mark.parametrize("value", ["x" * 65_536, {"text": "\x00" * 20_000}, list(range(20_000))])
def test_a_large_value_is_kept_beside_and_comes_back(bench, value):
    inline, payload_id = bench.write(lambda connection: payloads.store(connection, bench.workspace_id, value))

    with bench.engine.database.connect() as connection:
        assert payloads.load(connection, inline, payload_id) == value
    assert inline is None
    assert bench.row(Payload).bytes > payloads.INLINE_BYTES


def test_the_limit_itself_is_inline(bench):
    value = "x" * (payloads.INLINE_BYTES - 2)

    assert bench.write(lambda connection: payloads.store(connection, bench.workspace_id, value)) == (
        value,
        None,
    )


def test_a_payload_that_was_removed_is_nothing(bench):
    with bench.engine.database.connect() as connection:
        assert payloads.load(connection, None, "pay_gone") is None


def test_what_is_larger_than_a_payload_may_be_becomes_a_file(bench):
    value = {"text": "x" * (payloads.MAX_BYTES + 1)}

    stored, payload_id = bench.write(lambda connection: payloads.store(connection, bench.workspace_id, value))

    file = FileStore(bench.engine.database, bench.engine.writer, bench.workspace_id)
    content = b"".join(file.open(FileRef.model_validate(stored["file"])))
    assert payload_id is None
    assert "kept as a file" in stored["too_large"]
    assert json.loads(content) == value
    assert bench.rows(Payload) == []


def test_what_is_larger_than_a_file_may_be_leaves_a_note(bench, monkeypatch):
    monkeypatch.setattr(payloads, "MAX_FILE_BYTES", 9 * 1024 * 1024)

    stored, _ = bench.write(
        lambda connection: payloads.store(connection, bench.workspace_id, "x" * (10 * 1024 * 1024))
    )

    assert stored == {"too_large": "this had 10.0 MB and was not kept; a value may have 9 MB"}
