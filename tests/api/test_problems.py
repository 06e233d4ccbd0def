import hashlib

import pytest
from limits import parse

from app.extensions import limiter


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/v1", "/api/v1/nothing", "/hooks", "/hooks/", "/status", "/enqueue/x"]
)
def test_an_unknown_address_is_a_problem(api, path):
    answer = api.get(path)

    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    assert answer.json["status"] == 404
    assert answer.json["title"] == "Not Found"


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/api/v1/tasks"), ("GET", "/enqueue"), ("POST", "/healthz")]
)
def test_a_method_that_is_not_taken_names_those_that_are(api, method, path):
    answer = api.open(path, method=method)

    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")
    assert answer.headers["Allow"]


def test_pages_keep_their_own_errors(client):
    assert "problem" not in client.get("/nothing-here").content_type


def test_a_body_of_another_type_is_unsupported(api):
    answer = api.post("/enqueue", data={"action": "http.request"})

    assert (answer.status_code, answer.content_type) == (415, "application/problem+json")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 100_000,
        b'{"action": NaN}',
        b'{"action": 1e999}',
        b'{"priority": ' + b"9" * 5000 + b"}",
        b'{"a": "\xff"}',
    ],
    ids=["cut", "deep", "NaN", "1e999", "digits", "not utf-8"],
)
def test_what_is_no_json_is_unreadable(api, body):
    answer = api.post("/enqueue", data=body, content_type="application/json")

    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null"])
def test_json_that_is_no_object_does_not_fit(api, body):
    assert api.post("/enqueue", data=body, content_type="application/json").status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b'{"action": "a\\u0000"}',
        b'{"action": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"connection": "\\u0000", "action": "a"}',
    ],
)
def test_text_that_no_database_stores_does_not_fit(api, body):
    answer = api.post("/enqueue", data=body, content_type="application/json")

    assert answer.status_code == 422
    assert answer.json["errors"]


def test_a_megabyte_is_the_most(api):
    answer = api.post("/enqueue", data=b" " * (1024 * 1024 + 1), content_type="application/json")

    assert (answer.status_code, answer.content_type) == (413, "application/problem+json")
    assert "1048576" in answer.json["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/tasks/%00",
        "/api/v1/runs/" + "x" * 3000,
        "/status/..%2f..%2fetc",
        "/api/v1/queues/%F0%9F%92%A9",
        "/api/v1/tasks/' OR '1'='1",
    ],
)
def test_an_odd_id_is_not_found(api, path):
    assert api.get(path).status_code == 404


def test_answers_tell_the_rate_limit(api):
    answer = api.get("/api/v1/tasks")

    assert answer.headers["RateLimit-Limit"] == "6000"
    assert int(answer.headers["RateLimit-Remaining"]) == 5999
    assert 0 <= int(answer.headers["RateLimit-Reset"]) <= 60


def test_too_many_requests_are_a_problem(api):
    key = hashlib.sha256(b"bq_a-key-for-tests").hexdigest()[:32]
    for _ in range(6000):
        limiter.limiter.hit(parse("6000/minute"), key, "api")

    answer = api.get("/api/v1/tasks")

    assert (answer.status_code, answer.content_type) == (429, "application/problem+json")
    assert int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["RateLimit-Remaining"] == "0"
