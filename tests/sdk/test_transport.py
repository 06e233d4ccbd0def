from importlib import import_module

import pytest

from app.sdk.addresses import AddressGuard
from app.sdk.errors import RejectedError, TemporaryError
from app.sdk.http import HttpClient
from app.sdk.transport import guarded
from tests.providers import openai as provider
from tests.providers.http import Says, http_server, says_json


@pytest.fixture
def http():
    client = HttpClient(AddressGuard(allow_private=True))
    yield client
    client.close()


@pytest.fixture
def server():
    with http_server() as stand_in:
        yield stand_in


def test_what_an_httpx_client_builds_is_sent_and_its_answer_comes_back(http, server):
    server.answer = lambda request: says_json({"heard": request.json()}, 201, **{"X-Id": "7"})

    answer = guarded(http, deadline_s=5).post(f"{server.url}/a?b=1", json={"c": "ä"}, headers={"X-Own": "1"})

    [received] = server.received
    assert (received.method, received.path, received.query) == ("POST", "/a", {"b": ["1"]})
    assert received.headers["x-own"] == "1"
    assert (answer.status_code, answer.json(), answer.headers["x-id"]) == (201, {"heard": {"c": "ä"}}, "7")


def test_an_address_that_is_not_public_is_not_called():
    client = HttpClient(AddressGuard())

    with pytest.raises(RejectedError):
        guarded(client, deadline_s=5).get("http://169.254.169.254/latest")


def test_a_redirect_is_given_back_and_not_followed(http, server):
    server.answer = lambda request: Says(302, headers={"Location": server.url + "/b"})

    assert guarded(http, deadline_s=5).get(server.url).status_code == 302
    assert len(server.received) == 1


def test_an_answer_that_is_too_large_is_refused(http, server):
    server.answer = lambda request: Says(200, b"x" * 2000)

    with pytest.raises(RejectedError, match="larger than 1000 bytes"):
        guarded(http, deadline_s=5, max_bytes=1000).get(server.url)


def test_a_slow_service_ends_at_the_deadline_through_a_vendors_client(http):
    with provider.openai_server() as (server, bill):
        bill.slow_s = 0.6
        client = import_module("openai").OpenAI(
            api_key=provider.KEY,
            base_url=server.url,
            max_retries=0,
            http_client=guarded(http, deadline_s=0.2),
        )

        with pytest.raises(TemporaryError, match="did not answer in time") as failure:
            client.chat.completions.create(
                model="gpt-6-luna", messages=[{"role": "user", "content": "hello"}]
            )

    assert failure.value.sent


def test_proxy_variables_are_ignored(http, server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert guarded(http, deadline_s=5).get(server.url).status_code == 200
