import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from app.integrations.http import Access, Pages, Request, Watched, check, http, new_item, pages, request
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.fields import sentences, spread
from tests.providers.http import Says, http_server, only_with_token, says_json

SECRET = 'tok"3kd/93+kd'


@pytest.fixture
def server():
    with http_server() as stand_in:
        yield stand_in


def send(ctx, server, connection=None, *, path="/", **params):
    return request(ctx, connection, Request.model_validate({"url": server.url + path, **params}))


def account(server, **fields):
    host = server.url.removeprefix("http://")
    return Access.model_validate({"secret": SECRET, "hosts": host, **fields})


# what is sent


def test_a_json_body_is_sent_with_its_type(ctx, server):
    send(
        ctx,
        server,
        method="POST",
        json={"order": 'A "1"'},
        headers={"X-Shop": 7},
        query={"a": [1, "ü"], "b": True},
    )

    [received] = server.received
    assert received.json() == {"order": 'A "1"'}
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-shop"] == "7"
    assert received.query == {"a": ["1", "ü"], "b": ["true"]}


def test_an_empty_json_field_of_a_form_is_no_body(ctx, server):
    send(ctx, server, json="")

    assert server.received[0].body == b""


def test_a_form_body_is_sent_as_a_browser_does(ctx, server):
    send(ctx, server, method="POST", form={"a": "1 & 2", "b": ["x", "y"], "token": "t"})

    [received] = server.received
    assert received.body == b"a=1+%26+2&b=x&b=y&token=t"
    assert received.headers["content-type"] == "application/x-www-form-urlencoded"


def test_a_text_body_is_sent_with_the_type_that_was_chosen(ctx, server):
    send(ctx, server, method="PUT", text="a;b\n1;2", content_type="text/csv")

    [received] = server.received
    assert (received.body, received.headers["content-type"]) == (b"a;b\n1;2", "text/csv")


def test_the_same_key_goes_out_on_every_attempt(ctx, server):
    send(ctx, server)
    send(ctx, server)

    assert [received.headers["idempotency-key"] for received in server.received] == ["tsk_1", "tsk_1"]


def test_a_key_of_the_users_own_is_kept(ctx, server):
    send(ctx, server, method="POST", headers={"idempotency-key": "mine"})

    assert server.received[0].headers["idempotency-key"] == "mine"


@pytest.mark.parametrize(
    ("params", "where", "words"),
    [
        ({"json": {}, "text": "x"}, "text", "one body"),
        ({"form": {"a": "1"}, "text": "x"}, "text", "one body"),
        ({"headers": {"Authorization": "Bearer x"}}, "headers", "authorization belongs in a connection"),
        ({"headers": {"cookie ": "x"}}, "headers", "belongs in a connection"),
        ({"headers": {"X-API-Key": "{{ event.key }}"}}, "headers", "belongs in a connection"),
        ({"query": {"api_key": "x"}}, "query", "belongs in a connection"),
        ({"method": "CONNECT"}, "method", "should be"),
        ({"deadline_s": 0}, "deadline_s", "greater than"),
        ({"deadline_s": 3600}, "deadline_s", "less than"),
        ({"expect": [99]}, "expect.0", "greater than"),
        ({"url": ""}, "url", "is needed"),
        ({"verify": False}, "verify", "not a field"),
    ],
)
def test_params_that_make_no_sense_are_refused_beside_their_field(params, where, words):
    with pytest.raises(ValidationError) as error:
        Request.model_validate({"url": "https://shop.example/", **params})

    assert words in sentences(error.value)[where]


def test_statuses_may_be_written_with_commas():
    params = spread(Request, {"url": "https://shop.example/", "expect": "200, 404", "text": "a, b"})

    assert Request.model_validate(params).expect == [200, 404]
    assert params["text"] == "a, b"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "1\r\nX-B: 2"},
        {"X-A\r\nX-B": "1"},
        {"X A": "1"},
        {"Host": "127.0.0.1"},
        {"Content-Length": "0"},
        {"Transfer-Encoding": "chunked"},
    ],
)
def test_a_header_that_smuggles_is_refused_before_a_byte_is_sent(ctx, server, headers):
    with pytest.raises(RejectedError):
        send(ctx, server, method="POST", headers=headers, text="x")

    assert server.received == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:6379/", "http://169.254.169.254/", "http://2130706433/", "file:///x"]
)
def test_an_address_that_is_not_public_is_refused(strict_ctx, url):
    with pytest.raises(RejectedError):
        request(strict_ctx, None, Request(url=url))


# what comes back


def test_a_json_answer_is_taken_apart(ctx, server):
    server.answer = lambda received: says_json(
        {"id": 7}, 201, **{"Set-Cookie": "sid=1", "X-Total-Count": "3"}
    )

    output = send(ctx, server, method="POST", json=[])

    assert (output["status"], output["body"]) == (201, {"id": 7})
    assert output["headers"]["x-total-count"] == "3"
    assert "set-cookie" not in output["headers"]
    assert output["elapsed_ms"] >= 0


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("text/plain", b"gr\xc3\xbc\xc3\x9fe", "grüße"),
        ("text/html; charset=iso-8859-1", b"gr\xfc\xdfe", "grüße"),
        ("application/json", b"{broken", "{broken"),
        ("application/json", b"[" * 1_000, "[" * 1_000),
        ("application/problem+json", b'{"a": 1}', {"a": 1}),
        ("image/png", b"\x89PNG", None),
        ("", b"", ""),
    ],
)
def test_an_answer_is_read_as_what_it_is_labelled(ctx, server, kind, body, expected):
    server.answer = lambda received: Says(200, body, {"Content-Type": kind})

    assert send(ctx, server)["body"] == expected


def test_a_status_that_was_expected_is_success(ctx, server):
    server.answer = lambda received: Says(404)

    assert send(ctx, server, expect=[200, 404])["status"] == 404


def test_a_status_that_was_not_expected_is_not(ctx, server):
    with pytest.raises(RejectedError, match=r"answered 200, not 201, 202"):
        send(ctx, server, expect=[201, 202])


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, RejectedError), (401, RejectedError), (403, RejectedError), (404, RejectedError)],
)
def test_without_account_a_refusal_is_final(ctx, server, status, error):
    server.answer = lambda received: says_json({"why": "no"}, status)

    with pytest.raises(error, match=str(status)):
        send(ctx, server)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_an_answer_that_says_not_now_was_not_taken(ctx, server, status):
    server.answer = lambda received: Says(status, headers={"Retry-After": "7"})

    with pytest.raises(TemporaryError) as error:
        send(ctx, server, method="POST", json={})

    assert (error.value.sent, error.value.after) == (False, 7)


@pytest.mark.parametrize("status", [502, 504])
def test_an_answer_of_a_gateway_leaves_it_open_whether_it_was_taken(ctx, server, status):
    server.answer = lambda received: Says(status)

    with pytest.raises(TemporaryError) as error:
        send(ctx, server, method="POST", json={})

    assert error.value.sent is True


def test_a_connection_lost_after_sending_leaves_it_open_whether_it_was_taken(ctx, server):
    server.answer = lambda received: Says(hang_up=True)

    with pytest.raises(TemporaryError) as error:
        send(ctx, server, method="POST", json={})

    assert error.value.sent is True


@pytest.mark.parametrize(
    ("params", "repeatable"),
    [
        ({"method": "GET"}, True),
        ({"method": "PUT"}, True),
        ({"method": "DELETE"}, True),
        ({"method": "POST"}, False),
        ({"method": "PATCH"}, False),
        ({"method": "POST", "repeat_safe": True}, True),
    ],
)
def test_only_what_may_be_repeated_is(params, repeatable):
    action = http.actions["request"]

    assert action.is_repeatable(Request(url="https://shop.example/", **params)) is repeatable


# accounts


@pytest.mark.parametrize(
    ("fields", "header", "value"),
    [
        ({"auth": "bearer"}, "authorization", f"Bearer {SECRET}"),
        ({"auth": "basic", "user": "ada"}, "authorization", "Basic YWRhOnRvayIza2QvOTMra2Q="),
        ({"auth": "header", "name": "X-Api-Key"}, "x-api-key", SECRET),
    ],
)
def test_a_secret_is_sent_as_the_service_wants_it(ctx, server, fields, header, value):
    send(ctx, server, account(server, **fields))

    assert server.received[0].headers[header] == value


def test_a_secret_can_be_a_parameter(ctx, server):
    send(ctx, server, account(server, auth="query", name="key"), query={"a": "1"})

    assert server.received[0].query == {"a": ["1"], "key": [SECRET]}


@pytest.mark.parametrize(
    "hosts",
    ["api.example.com", "127.0.0.1", "127.0.0.1:1", "example.com:80, localhost", "2130706433.example"],
)
def test_a_secret_is_not_sent_to_a_host_that_is_not_named(ctx, server, hosts):
    with pytest.raises(RejectedError, match="does not name 127"):
        send(ctx, server, account(server, hosts=hosts))

    assert server.received == []


def test_a_host_is_known_under_every_spelling(ctx, server):
    port = server.url.rpartition(":")[2]

    send(ctx, server, account(server, hosts=f"API.Example.com, 0x7f000001:{port}"))

    assert len(server.received) == 1


def test_a_secret_does_not_follow_a_redirect_to_another_host(ctx, server):
    with http_server() as other:
        server.answer = lambda received: Says(302, headers={"Location": other.url + "/elsewhere"})

        send(ctx, server, account(server, auth="header", name="X-Shop-Pass"))

    assert other.received[0].path == "/elsewhere"
    assert "x-shop-pass" not in other.received[0].headers


@pytest.mark.parametrize(
    "fields", [{"auth": "bearer"}, {"auth": "basic", "user": "ada"}, {"auth": "query", "name": "key"}]
)
def test_a_service_that_echoes_a_secret_does_not_bring_it_into_the_output(ctx, server, fields):
    server.answer = lambda received: says_json(
        {"headers": dict(received.headers), "query": dict(received.query)}, **{"X-Echo": SECRET}
    )

    output = json.dumps(send(ctx, server, account(server, **fields)))

    for spelling in (SECRET, json.dumps(SECRET)[1:-1], "YWRhOnRvayIza2QvOTMra2Q="):
        assert spelling not in output


def test_an_error_that_echoes_a_secret_does_not_bring_it_into_the_message(ctx, server):
    server.answer = only_with_token("another")

    with pytest.raises(AuthError) as error:
        send(ctx, server, account(server))

    assert "401" in str(error.value)
    assert SECRET not in str(error.value)
    assert "kd/93" not in str(error.value)


def test_a_secret_in_the_query_is_in_no_message(ctx, server):
    server.answer = lambda received: Says(500)

    with pytest.raises(TemporaryError) as error:
        send(ctx, server, account(server, auth="query", name="key"))

    assert "kd" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"hosts": ""}, "hosts"),
        ({"hosts": " , "}, "hosts"),
        ({"hosts": "https://api.example.com/v1"}, "hosts"),
        ({"hosts": "user@api.example.com"}, "hosts"),
        ({"hosts": "*"}, "hosts"),
        ({"secret": " "}, "secret"),
        ({"auth": "basic"}, "user"),
        ({"auth": "header"}, "name"),
        ({"check_url": "https://elsewhere.example/me"}, "check_url"),
        ({"check_url": "ftp://api.example.com/me"}, "check_url"),
    ],
)
def test_an_account_that_cannot_work_is_refused(fields, where):
    with pytest.raises(ValidationError) as error:
        Access.model_validate({"secret": "tok_123", "hosts": "api.example.com", **fields})

    assert where in sentences(error.value)


# checks


def test_a_check_calls_the_check_address_with_the_secret(ctx, server):
    server.answer = only_with_token("tok_123")
    connection = account(server, secret="tok_123", check_url=server.url + "/me")

    assert check(ctx, connection) == "127.0.0.1 answered 200"


def test_a_check_tells_a_wrong_secret(ctx, server):
    server.answer = only_with_token("tok_123")

    with pytest.raises(AuthError, match="401"):
        check(ctx, account(server, secret="tok_999", check_url=server.url + "/me"))


def test_a_check_without_address_says_what_is_missing(ctx, server):
    assert check(ctx, account(server)) == "nothing to call: add a check address to prove it"
    assert server.received == []


def test_no_key_is_sent_where_the_engine_lends_none(ctx, server):
    send(replace(ctx, idempotency_key=""), server)

    assert "idempotency-key" not in server.received[0].headers


# pages of a list


def paged(server, *, total=5, size=2):
    """Pages by number and by cursor, told in the body and in the Link header; only the next link has everything."""

    def answer(received):
        number = int((received.query.get("page") or received.query.get("cursor") or ["1"])[0])
        items = [{"id": n} for n in range(total)][(number - 1) * size : number * size]
        last = number * size >= total
        link = "" if last else f"{server.url}/orders?page={number + 1}&state=open"
        body = {
            "data": {"orders": items},
            "meta": {"next": link or None, "cursor": None if last else number + 1},
        }
        return says_json(
            body, Link=f'<{server.url}/orders>; rel="first", <{link}>; rel="next"' if link else ""
        )

    server.answer = answer


def get_pages(ctx, server, connection=None, **params):
    given = {"url": server.url + "/orders", "items": "data.orders", "query": {"state": "open"}, **params}
    return pages(ctx, connection, Pages.model_validate(given))


@pytest.mark.parametrize(
    ("params", "calls"),
    [
        ({"next_page": "next link", "next_at": "meta.next"}, 3),
        ({"next_page": "link header"}, 3),
        ({"next_page": "next value", "next_at": "meta.cursor", "next_query": "cursor"}, 3),
        ({"next_page": "page number"}, 4),
    ],
)
def test_the_items_of_all_pages_become_one_list(ctx, server, params, calls):
    paged(server)

    output = get_pages(ctx, server, **params)

    assert output == {"items": [{"id": n} for n in range(5)], "count": 5, "pages": calls, "more": False}
    assert {received.query["state"][0] for received in server.received} == {"open"}


def test_no_more_pages_are_taken_than_was_said(ctx, server):
    paged(server, total=100)

    output = get_pages(ctx, server, next_page="page number", max_pages=3)

    assert (output["count"], output["pages"], output["more"]) == (6, 3, True)


def test_a_list_that_leads_in_a_circle_ends(ctx, server):
    server.answer = lambda received: says_json(
        {"data": {"orders": [1]}, "meta": {"next": server.url + "/orders?a=1"}}
    )

    assert get_pages(ctx, server, next_at="meta.next", max_pages=20)["pages"] == 2


def test_more_than_twenty_pages_cannot_be_asked_for():
    with pytest.raises(ValidationError):
        Pages(url="https://shop.example/", max_pages=21)


@pytest.mark.parametrize(
    ("body", "items", "words"),
    [
        ({"data": []}, "data.orders", "there is no list in the answer"),
        ({"data": {"orders": {}}}, "data.orders", "data.orders is an object, not a list"),
        ({"orders": []}, "", "the answer is an object, not a list"),
        ([], "a b", "cannot be read|is not a field"),
    ],
)
def test_a_list_that_is_not_there_is_told(ctx, server, body, items, words):
    server.answer = lambda received: says_json(body)

    with pytest.raises(RejectedError, match=words):
        get_pages(ctx, server, items=items, next_page="link header")


def test_a_next_link_without_its_place_is_asked_for(ctx, server):
    paged(server)

    with pytest.raises(RejectedError, match="say where in the answer"):
        get_pages(ctx, server)


def test_a_next_link_cannot_carry_the_secret_to_another_host(ctx, server):
    with http_server() as other:
        server.answer = lambda received: says_json({"data": {"orders": [1]}, "next": other.url + "/steal"})

        with pytest.raises(RejectedError, match="the connection does not name"):
            get_pages(ctx, server, account(server), next_at="next")

        assert other.received == []
        assert server.received[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("says", "error"), [(Says(401), RejectedError), (Says(500), TemporaryError), (Says(404), RejectedError)]
)
def test_a_page_that_fails_fails_the_whole(ctx, server, says, error):
    server.answer = lambda received: says

    with pytest.raises(error):
        get_pages(ctx, server, next_page="page number")


# a list that is watched


class Watcher:
    """Looks as the engine does, with what the last look gave."""

    def __init__(self, ctx, server, connection=None, **params):
        self.ctx, self.connection = ctx, connection
        self.params = Watched.model_validate({"url": server.url + "/orders", **params})
        self.cursor, self.keys = None, []

    def look(self):
        batch = new_item(self.ctx, self.connection, self.params, self.cursor, self.keys)
        self.cursor, self.keys = batch.cursor, batch.recent_keys
        return [one.data for one in batch.occurrences]


def listing(server, items, **headers):
    server.answer = lambda received: says_json(items, **headers)


def test_each_new_item_happens_once_and_the_oldest_first(ctx, server):
    listing(server, [{"id": 1}])
    watcher = Watcher(ctx, server)

    assert watcher.look() == []
    listing(server, [{"id": 3}, {"id": 2}, {"id": 1, "state": "changed"}])
    assert watcher.look() == [{"id": 2}, {"id": 3}]
    assert watcher.look() == []


def test_the_newest_may_be_the_last_and_the_first_look_may_take_some(ctx, server):
    listing(server, {"data": [{"no": "a"}, {"no": "b"}, {"no": "c"}]})

    assert Watcher(ctx, server, items="data", key="no", newest="last", first=2).look() == [
        {"no": "b"},
        {"no": "c"},
    ]


def test_items_without_the_field_are_told_apart_by_all_they_say(ctx, server):
    listing(server, ["a", {"x": 1}])
    watcher = Watcher(ctx, server)
    watcher.look()

    listing(server, ["b", "a", {"x": 1}, {"x": 2}])

    assert watcher.look() == [{"x": 2}, "b"]


def test_a_list_that_has_not_changed_is_not_sent_again(ctx, server):
    listing(server, [{"id": 1}], ETag='"v1"')
    watcher = Watcher(ctx, server)
    watcher.look()
    server.answer = lambda received: Says(304 if received.headers.get("if-none-match") == '"v1"' else 500)

    assert watcher.look() == []
    listing(server, [{"id": 2}, {"id": 1}])
    assert watcher.look() == [{"id": 2}]


def test_a_watched_list_may_need_a_secret(ctx, server):
    listing(server, [])

    Watcher(ctx, server, account(server)).look()

    assert server.received[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (Says(401), RejectedError),
        (Says(503), TemporaryError),
        (Says(200, b"x"), RejectedError),
        (says_json({}), RejectedError),
    ],
)
def test_a_list_that_cannot_be_had_is_told(ctx, server, says, error):
    server.answer = lambda received: says

    with pytest.raises(error):
        Watcher(ctx, server).look()
