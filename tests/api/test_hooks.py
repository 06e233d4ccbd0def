import base64
import hashlib
import hmac
import time

import pytest
import sqlalchemy as sa

from app.api import hooks
from app.database import writing
from app.models import Event, Hook, Run, State, Task
from app.services import rules

ORDER = {"order": "A-1", "total": 150}
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, ok").decode()


def count(session, model) -> int:
    session.rollback()
    return session.scalar(sa.select(sa.func.count()).select_from(model))


def signed(
    body: bytes, *, at: int | None = None, message_id: str = "msg_1", secret: str = SECRET
) -> dict[str, str]:
    timestamp = str(int(time.time()) if at is None else at)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
        "Content-Type": "application/json",
    }


@pytest.fixture
def signed_hook(api, make_rule) -> str:
    body = {"integration": "webhook", "name": "Shop", "settings": {"secret": SECRET}}
    connection = api.post("/api/v1/connections", json=body)
    assert connection.status_code == 201, connection.text
    trigger = {"type": "webhook.received", "params": {}, "connection": connection.json["id"]}
    return make_rule(trigger=trigger)["hook_url"].removeprefix("http://bitqueue.test")


def test_a_call_is_on_disk_when_it_is_answered(client, hook, session):
    answer = client.post(hook, json=ORDER)

    assert answer.status_code == 202
    assert answer.json["duplicate"] is False
    event = session.get(Event, answer.json["event"])
    assert (event.data["order"], event.data["total"]) == ("A-1", 150)
    assert count(session, Task) == 1


def test_the_address_has_at_least_128_bits(hook):
    token = hook.rpartition("/")[2]

    assert len(token) * 5 >= 128


def test_a_wrong_address_is_not_found(client, hook):
    wrong = hook[:-1] + ("a" if hook[-1] != "a" else "b")

    for path in (wrong, "/hooks/x", "/hooks/" + "x" * 5000, "/hooks/%00", "/hooks/%F0%9F%92%A9"):
        answer = client.post(path, json=ORDER)
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_a_rule_that_is_off_is_gone(client, api, make_rule, session):
    rule = make_rule()
    api.post(f"/api/v1/rules/{rule['id']}/disable")

    answer = client.post(rule["hook_url"].removeprefix("http://bitqueue.test"), json=ORDER)

    assert (answer.status_code, answer.content_type) == (410, "application/problem+json")
    assert count(session, Event) == 0


def test_a_deleted_rule_leaves_no_address(client, api, make_rule):
    rule = make_rule()
    api.delete(f"/api/v1/rules/{rule['id']}")

    assert client.post(rule["hook_url"].removeprefix("http://bitqueue.test"), json=ORDER).status_code == 404


def test_a_rule_that_listens_keeps_a_sample_and_runs_nothing(client, api, make_rule, session, world):
    rule = make_rule(enabled=False)
    with writing() as write:
        rules.listen(write, world.actor(), rule["id"])

    answer = client.post(rule["hook_url"].removeprefix("http://bitqueue.test"), json=ORDER)

    assert answer.status_code == 202
    assert (count(session, Event), count(session, Run)) == (1, 0)


def test_the_same_delivery_makes_one_event(client, hook, session):
    first = client.post(hook, json=ORDER, headers={"Idempotency-Key": "one"})
    again = client.post(hook, json=ORDER, headers={"Idempotency-Key": "one"})

    assert again.json == {"event": first.json["event"], "duplicate": True}
    assert (count(session, Run), session.get(Event, first.json["event"]).duplicates) == (1, 1)


def test_a_right_signature_is_let_in_and_its_replay_runs_nothing_more(client, signed_hook, session):
    body = b'{"order": "A-1", "total": 150}'

    first = client.post(signed_hook, data=body, headers=signed(body))
    again = client.post(signed_hook, data=body, headers=signed(body))

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json == {"event": first.json["event"], "duplicate": True}
    assert count(session, Run) == 1


def test_one_good_entry_in_a_list_of_signatures_is_enough(client, signed_hook):
    body = b"{}"
    headers = signed(body)
    headers["webhook-signature"] = "v1,bm90IHRoaXMgb25l " + headers["webhook-signature"] + " v1a,other"

    assert client.post(signed_hook, data=body, headers=headers).status_code == 202


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"Content-Type": "application/json"}, b"{}"),
        (
            signed(b"{}", secret="whsec_" + base64.b64encode(b"some other secret of 32 bytes !!").decode()),
            b"{}",
        ),
        (signed(b"{}"), b"{} "),
        (signed(b"{}", at=int(time.time()) - 301 - 60), b"{}"),
        (signed(b"{}", at=int(time.time()) + 86_400), b"{}"),
        (signed(b"{}") | {"webhook-signature": "v1,"}, b"{}"),
        (signed(b"{}") | {"webhook-timestamp": "NaN"}, b"{}"),
    ],
    ids=["unsigned", "wrong secret", "one space more", "too old", "too new", "empty signature", "no time"],
)
def test_a_call_that_proves_nothing_is_refused_and_counted(client, signed_hook, session, headers, sent):
    answer = client.post(signed_hook, data=sent, headers=headers)

    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
    assert count(session, Event) == 0
    row = session.scalar(sa.select(Hook))
    assert (row.refused, row.refused_at is not None, bool(row.refused_cause)) == (1, True, True)


def test_a_flood_of_refusals_writes_once(client, signed_hook, session):
    for _ in range(5):
        client.post(signed_hook, data=b"{}")

    session.rollback()
    assert session.scalar(sa.select(Hook.refused)) == 1


def test_a_body_of_50_mb_is_refused_before_it_is_read(client, hook):
    answer = client.post(hook, data=b"x", environ_overrides={"CONTENT_LENGTH": str(50 * 2**20)})

    assert (answer.status_code, answer.content_type) == (413, "application/problem+json")


def test_a_length_of_10_gb_is_refused_before_it_is_read(client, hook):
    answer = client.post(hook, data=b"x", environ_overrides={"CONTENT_LENGTH": str(10 * 2**30)})

    assert answer.status_code == 413


def test_a_chunked_body_is_refused_while_it_is_read(client, hook):
    class Endless:
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += 65536
            assert self.given < hooks.BODY_BYTES + 10 * 65536
            return b"x" * 65536

        readline = read

    chunked = {"wsgi.input": Endless(), "wsgi.input_terminated": True}
    answer = client.post(hook, environ_overrides=chunked)

    assert answer.status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b"}",
        b'{"n": 1e999}',
        b'{"n": NaN}',
        b'{"n": ' + b"9" * 5000 + b"}",
        b'{"text": "\xff\xfe"}',
        b"{",
    ],
    ids=["deep", "keys", "1e999", "NaN", "digits", "not utf-8", "cut"],
)
def test_hostile_json_is_a_400(client, hook, body):
    answer = client.post(hook, data=body, content_type="application/json")

    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")


@pytest.mark.parametrize("text", [r"\u0000", r"\ud800", "a\\u0000b"])
def test_nul_and_lone_surrogates_are_kept(client, hook, api, text):
    body = f'{{"order": "{text}", "total": 150, "{text}": 1}}'.encode()

    answer = client.post(
        hook, data=body, content_type="application/json", headers={"Idempotency-Key": "a\tb"}
    )

    assert answer.status_code == 202
    assert api.get(f"/api/v1/events/{answer.json['event']}").status_code == 200
    assert api.get("/api/v1/runs").status_code == 200


@pytest.mark.parametrize("key", [r"\u0000", r"\ud800", "x" * 5000])
def test_an_odd_key_still_makes_one_event(client, make_rule, session, key):
    rule = make_rule(trigger={"type": "webhook.received", "params": {"key_field": "order"}})
    path, body = rule["hook_url"].removeprefix("http://bitqueue.test"), f'{{"order": "{key}"}}'.encode()

    answers = [client.post(path, data=body, content_type="application/json") for _ in range(2)]

    assert [answer.json["duplicate"] for answer in answers] == [False, True]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"order=A-1&total=150", "application/json"),
        (b'{"order": "A-1"}', "application/x-www-form-urlencoded"),
    ],
)
def test_a_wrongly_labelled_body_is_no_fault(client, hook, body, content_type):
    assert client.post(hook, data=body, content_type=content_type).status_code in {202, 400}


def test_many_parts_are_refused(client, hook):
    body = (
        b"".join(b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' for _ in range(50_000))
        + b"--x--"
    )

    answer = client.post(hook, data=body, content_type="multipart/form-data; boundary=x")

    assert answer.status_code == 415


def test_methods_are_the_triggers_to_allow(client, hook, make_rule):
    open_rule = make_rule(trigger={"type": "webhook.received", "params": {"allow_get": True}})
    open_hook = open_rule["hook_url"].removeprefix("http://bitqueue.test")

    assert client.get(hook).status_code == 405
    assert client.get(f"{open_hook}?order=A-1").status_code == 202
    assert client.put(hook, json=ORDER).status_code == 202
    refused = client.delete(hook)
    assert (refused.status_code, refused.content_type) == (405, "application/problem+json")


def test_spoofed_proxy_headers_change_nothing(client, hook, api):
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher"}

    answer = client.post(hook, json=ORDER, headers=headers)

    assert answer.status_code == 202
    assert "evil.example" not in api.get(f"/api/v1/events/{answer.json['event']}").text


def test_a_rule_that_starts_itself_is_stopped_at_ten(client, hook, session):
    going = client.post(hook, json=ORDER, headers={"X-BitQueue-Depth": "9"})
    stopped = client.post(hook, json=ORDER, headers={"X-BitQueue-Depth": "10"})

    assert (going.status_code, stopped.status_code) == (202, 409)
    assert "keeps starting itself" in stopped.json["detail"]
    session.rollback()
    states = session.scalars(sa.select(Run.state).order_by(Run.id)).all()
    assert states == [State.QUEUED, State.FAILED]


@pytest.mark.parametrize("depth", ["-1", "ten", "9" * 400, "1e3", "٣"])
def test_an_odd_depth_counts_as_none(client, hook, depth):
    answer = client.post(hook, json=ORDER, headers={"X-BitQueue-Depth": depth.encode().decode("latin-1")})

    assert answer.status_code == 202


def test_a_key_in_the_address_of_a_hook_is_only_data(client, hook):
    assert client.post(f"{hook}?api_key=bq_x", json=ORDER).status_code == 202
