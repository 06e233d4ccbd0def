import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError

from app.engine.files import FileStore
from app.integrations.sendgrid import (
    Account,
    Contact,
    Events,
    Mail,
    Template,
    add_contact,
    check,
    event,
    send,
    template,
)
from app.sdk import sendgrid as api
from app.sdk.context import FileRef
from app.sdk.declare import InboundRequest, Reply
from app.sdk.errors import AuthError, RefusedError, RejectedError, TemporaryError
from app.sdk.fields import sentences
from tests.integrations.conftest import NOW
from tests.providers import sendgrid as provider
from tests.providers.http import Received, Says
from tests.stored import StoredFiles

SIGNER = provider.Signer()


def account(**fields):
    given = {"api_key": provider.KEY, "sender": f"Example Shop <{provider.SENDER}>"}
    return Account.model_validate(given | fields)


def mail(**fields):
    return Mail.model_validate({"to": "ada@example.com", "subject": "order", "text": "hi"} | fields)


@pytest.fixture
def server():
    with provider.sendgrid_server() as stand_in:
        yield stand_in


@pytest.fixture
def files():
    return StoredFiles()


@pytest.fixture
def sendgrid_ctx(ctx, server, files):
    return replace(ctx, base_url=server.url + "/", files=files)


# sending


def test_a_mail_is_sent_by_sendgrids_own_client(sendgrid_ctx, server):
    output = send(
        sendgrid_ctx,
        account(),
        mail(
            to=["Ada Example <ada@example.com>", "bob@example.com"],
            cc="eve@example.com",
            bcc=["hidden@example.com"],
            reply_to="Help <help@example.com>",
            subject="Bestellung über 150 €",
            html="<p>150&nbsp;€</p>",
        ),
    )

    [sent], [request] = server.mails, server.server.received
    assert sent == {
        "personalizations": [
            {
                "to": [{"email": "ada@example.com", "name": "Ada Example"}, {"email": "bob@example.com"}],
                "cc": [{"email": "eve@example.com"}],
                "bcc": [{"email": "hidden@example.com"}],
            }
        ],
        "from": {"email": provider.SENDER, "name": "Example Shop"},
        "reply_to": {"email": "help@example.com", "name": "Help"},
        "subject": "Bestellung über 150 €",
        "content": [
            {"type": "text/plain", "value": "hi"},
            {"type": "text/html", "value": "<p>150&nbsp;€</p>"},
        ],
    }
    assert request.headers["user-agent"].startswith("sendgrid/")
    assert output["message_id"] == "14c5d75ce93.dfd.000001"
    assert output["accepted"][-1] == "hidden@example.com"


def test_an_address_twice_is_written_to_once(sendgrid_ctx, server):
    output = send(sendgrid_ctx, account(), mail(cc=["Ada <ADA@example.com>", "eve@example.com"]))

    assert server.mails[0]["personalizations"][0]["cc"] == [{"email": "eve@example.com"}]
    assert output["accepted"] == ["ada@example.com", "eve@example.com"]


def test_files_of_earlier_steps_go_along_whole(sendgrid_ctx, server, engine, world):
    # CHUNK_BYTES is no multiple of three: base64 must not end with each piece.
    stored = FileStore(engine.database, engine.writer, world.workspace.id)
    content = bytes(range(256)) * 2500 + b"x"
    ref = stored.save("Rechnung A-1001.pdf", "application/pdf; charset=x", [content])

    send(replace(sendgrid_ctx, files=stored), account(), mail(attachments=[ref.model_dump()]))

    [attached] = server.mails[0]["attachments"]
    assert base64.b64decode(attached["content"]) == content
    assert (attached["filename"], attached["type"]) == ("Rechnung A-1001.pdf", "application/pdf")


def test_too_much_is_refused_before_it_is_read_or_sent(sendgrid_ctx, server, files):
    refs = [files.save(f"{name}.bin", "application/x-y", [b"x" * (11 * 1024**2)]) for name in "ab"]

    with pytest.raises(RejectedError, match=r"the files have 22\.0 MB together, and sendgrid takes 20"):
        send(sendgrid_ctx, account(), mail(attachments=refs))

    assert not server.server.received


def test_as_much_as_is_allowed_arrives(sendgrid_ctx, server, files):
    ref = files.save("a.bin", "application/x-y", [b"x" * api.MAX_ATTACHED_BYTES])

    send(sendgrid_ctx, account(), mail(attachments=[ref]))

    assert len(base64.b64decode(server.mails[0]["attachments"][0]["content"])) == api.MAX_ATTACHED_BYTES


def test_a_file_that_is_gone_or_empty_is_named(sendgrid_ctx, server, files):
    gone = FileRef(id="fil_" + "0" * 26, name="old.pdf")

    with pytest.raises(RejectedError, match=r"old\.pdf is not kept"):
        send(sendgrid_ctx, account(), mail(attachments=[gone]))
    with pytest.raises(RejectedError, match=r"none\.txt is empty"):
        send(sendgrid_ctx, account(), mail(attachments=[files.save("none.txt", "text/plain", [])]))

    assert not server.server.received


def test_a_dynamic_template_gets_its_data(sendgrid_ctx, server):
    data = {"order": "A-1001", "total": 150, "items": [{"name": "lamp"}]}

    output = template(
        sendgrid_ctx,
        account(),
        Template(to="ada@example.com", template_id=provider.TEMPLATE_ID, data=data),
    )

    [sent] = server.mails
    assert sent["template_id"] == provider.TEMPLATE_ID
    assert sent["personalizations"][0]["dynamic_template_data"] == data
    assert "content" not in sent
    assert output["accepted"] == ["ada@example.com"]


def test_a_contact_is_added_and_changed(sendgrid_ctx, server):
    first = Contact(email="Ada <ada@example.com>", first_name="Ada", lists=[provider.LIST_ID])
    add_contact(sendgrid_ctx, account(), first)

    output = add_contact(
        sendgrid_ctx, account(), Contact(email="ada@example.com", last_name="E", custom_fields={"e1_T": 7})
    )

    kept = server.contacts["ada@example.com"]
    assert (kept["first_name"], kept["last_name"], kept["custom_fields"]) == ("Ada", "E", {"e1_T": "7"})
    assert output == {"job_id": "8ad1d3b4-0001"}


# what SendGrid refuses


def every_way():
    return [
        (send, mail()),
        (template, Template(to="ada@example.com", template_id=provider.TEMPLATE_ID)),
        (add_contact, Contact(email="ada@example.com")),
    ]


def test_a_wrong_key_breaks_the_connection_whatever_is_done(sendgrid_ctx):
    for action, params in every_way():
        with pytest.raises(AuthError, match="make a new one under settings") as failure:
            action(sendgrid_ctx, account(api_key="SG.wrong-key"), params)

        assert "SG.wrong-key" not in str(failure.value)


@pytest.mark.parametrize(
    ("key", "action", "params", "scope"),
    [
        (provider.NO_MAIL_KEY, *every_way()[0], "mail.send"),
        (provider.NO_MAIL_KEY, *every_way()[1], "mail.send"),
        (provider.NO_CONTACTS_KEY, *every_way()[2], "marketing.read"),
    ],
)
def test_a_missing_right_names_itself(sendgrid_ctx, key, action, params, scope):
    with pytest.raises(AuthError, match=f"give it the right {scope}"):
        action(sendgrid_ctx, account(api_key=key), params)


def test_a_sender_that_is_not_verified_is_told(sendgrid_ctx):
    with pytest.raises(AuthError, match="verify it under settings → sender authentication"):
        send(sendgrid_ctx, account(sender="other@example.com"), mail())


@pytest.mark.parametrize(
    ("action", "params", "words"),
    [
        (
            send,
            mail(to="ada@nowhere.invalid"),
            r"personalizations\.0\.to\.0\.email: Does not .* ada@nowhere\.invalid",
        ),
        (
            template,
            Template(to="ada@example.com", template_id="d-1"),
            "template_id: The template_id is not known",
        ),
        (add_contact, Contact(email="ada@example.com", lists=["none"]), "list_ids: list id does not exist"),
    ],
)
def test_what_is_wrong_is_named(sendgrid_ctx, server, action, params, words):
    with pytest.raises(RejectedError, match=words):
        action(sendgrid_ctx, account(), params)

    assert not server.mails


@pytest.mark.parametrize(
    ("says", "sent", "after"),
    [
        (provider.fault(429, "too many requests", **{"Retry-After": "9"}), False, 9),
        (
            provider.fault(429, "too many requests", **{"X-RateLimit-Reset": str(int(NOW.timestamp()) + 40)}),
            False,
            40,
        ),
        (provider.fault(401, "Maximum credits exceeded"), False, 3600),
        (provider.fault(503, "unavailable"), False, None),
        (provider.fault(500, "internal server error"), True, None),
        (Says(502, b"<html>bad gateway</html>"), True, None),
        (Says(504), True, None),
        (Says(hang_up=True), True, None),
    ],
)
def test_sendgrid_that_cannot_now_is_asked_again_only_if_nothing_was_sent(
    sendgrid_ctx, server, says, sent, after
):
    server.server.answer = lambda request: says

    with pytest.raises(TemporaryError) as failure:
        send(sendgrid_ctx, account(), mail())

    assert (failure.value.sent, failure.value.after) == (sent, after)
    assert len(server.server.received) == 1


def test_a_slow_sendgrid_may_have_sent_it(sendgrid_ctx, server, monkeypatch):
    monkeypatch.setattr(api, "_DEADLINE_S", 0.2)
    server.pause_s = 0.6

    with pytest.raises(TemporaryError, match="in time") as failure:
        send(sendgrid_ctx, account(), mail())

    assert failure.value.sent


def test_too_large_for_sendgrid_is_final(sendgrid_ctx, server):
    server.server.answer = lambda request: provider.fault(413, "content too large")

    with pytest.raises(RejectedError, match="too large for sendgrid"):
        send(sendgrid_ctx, account(), mail())


@pytest.mark.parametrize(
    "body", [b"", b"<b>Secret Detail</b>", b"[]", b'{"errors": ["x"]}', b'{"errors": {}}']
)
def test_an_objection_without_words_is_not_repeated_raw(sendgrid_ctx, server, body):
    server.server.answer = lambda request: Says(400, body)

    with pytest.raises(RejectedError, match=r"no reason given \(400\)"):
        send(sendgrid_ctx, account(), mail())


def test_a_redirect_is_not_followed(sendgrid_ctx, server):
    server.server.answer = lambda request: Says(302, headers={"Location": server.url + "/elsewhere"})

    with pytest.raises(RejectedError):
        send(sendgrid_ctx, account(), mail())

    assert len(server.server.received) == 1


def test_the_clients_log_does_not_hold_the_key(sendgrid_ctx, caplog):
    caplog.set_level("DEBUG")

    send(sendgrid_ctx, account(), mail())

    assert provider.KEY not in caplog.text


def test_environment_and_proxies_are_ignored(sendgrid_ctx, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("SENDGRID_API_KEY", "of-somebody-else")

    assert send(sendgrid_ctx, account(), mail())["message_id"]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"subject": "hello\r\nBcc: victim@example.com"}, "subject"),
        ({"subject": ""}, "subject"),
        ({"to": "ada@example.com, victim@example.com"}, "to.0"),
        ({"to": []}, "to"),
        ({"cc": ["x@y z"]}, "cc.0"),
        ({"bcc": ["a@example.com"] * 1001}, "bcc"),
        ({"reply_to": "a@example.com, b@example.com"}, "reply_to"),
        ({"text": "", "html": ""}, "html"),
        ({"attachments": ["../etc/passwd"]}, "attachments.0.id"),
    ],
)
def test_a_mail_that_hides_something_is_refused_beside_its_field(fields, where):
    with pytest.raises(ValidationError) as error:
        mail(**fields)

    assert where in sentences(error.value)


# the account


def test_a_check_asks_for_rights_and_sends_nothing(sendgrid_ctx, server):
    assert check(sendgrid_ctx, account()) == "the key may send mail and keep contacts"
    assert check(sendgrid_ctx, account(api_key=provider.NO_CONTACTS_KEY)) == "the key may send mail"
    assert not server.mails


def test_a_check_names_the_missing_right(sendgrid_ctx):
    with pytest.raises(AuthError, match=r"mail\.send"):
        check(sendgrid_ctx, account(api_key=provider.NO_MAIL_KEY))


def public(key):
    der, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(key.public_key().public_bytes(der, form)).decode()


@pytest.mark.parametrize(
    "key",
    [
        "nonsense",
        SIGNER.verification_key[:-8],
        public(rsa.generate_private_key(65537, 2048)),
        public(ec.generate_private_key(ec.SECP384R1())),
        "ÄÖÜ",
    ],
)
def test_what_is_no_verification_key_is_refused_beside_its_field(key):
    with pytest.raises(ValidationError, match="is not a verification key"):
        account(verification_key=key)


# events

BOUNCE = {
    "event": "bounce",
    "email": "ada@example.com",
    "timestamp": 1795251600,
    "sg_event_id": "rWVYmVk90MjZJ9iohOBa3w==",
    "sg_message_id": "14c5d75ce93.dfd.000001.filter0001.16648.5515E0B88.0",
    "reason": "550 5.1.1 größer",
    "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
}
OPEN = {"event": "open", "email": "bob@example.com", "timestamp": 1795251660, "sg_event_id": "second"}


def signed(**fields):
    return account(verification_key=SIGNER.verification_key, **fields)


def test_a_batch_is_one_event_for_each_entry():
    first, second = event(SIGNER.call([BOUNCE, OPEN], NOW), signed(), Events())

    assert (first.key, second.key) == ("rWVYmVk90MjZJ9iohOBa3w==", "second")
    assert first.data["message_id"] == "14c5d75ce93.dfd.000001"
    assert first.data["at"] == "2026-11-21T09:00:00Z"
    assert first.data["reason"] == "550 5.1.1 größer"


def test_only_the_events_that_were_asked_for_count():
    [one] = event(SIGNER.call([OPEN, BOUNCE], NOW), signed(), Events(events=["bounce"]))

    assert one.data["event"] == "bounce"
    assert isinstance(event(SIGNER.call([OPEN], NOW), signed(), Events(events=["bounce"])), Reply)
    assert isinstance(event(SIGNER.call([], NOW), signed(), Events()), Reply)


def test_an_entry_without_id_or_time_is_still_an_event():
    [one] = event(SIGNER.call([{"event": "delivered", "timestamp": "soon"}], NOW), signed(), Events())

    assert one.key is None
    assert "at" not in one.data


@pytest.mark.parametrize("body", [{"event": "open"}, ["open"], "open"])
def test_a_body_of_another_shape_is_refused(body):
    with pytest.raises(RefusedError) as refused:
        event(SIGNER.call(body, NOW), signed(), Events())

    assert refused.value.status == 400


# The example of SendGrid's own test-suites: sendgrid-python, test/unit/test_eventwebhook.py (MIT).
DOCUMENTED_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc"
    "6wEA3F+g=="
)
DOCUMENTED_SIGNATURE = (
    "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
)
DOCUMENTED_EVENT = {
    "email": "hello@world.com",
    "event": "dropped",
    "reason": "Bounced Address",
    "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
    "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
    "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
    "timestamp": 1600112492,
}


def documented(**headers):
    body = json.dumps([DOCUMENTED_EVENT], sort_keys=True, separators=(",", ":")).encode() + b"\r\n"
    given = {
        "x-twilio-email-event-webhook-timestamp": "1600112502",
        "x-twilio-email-event-webhook-signature": DOCUMENTED_SIGNATURE,
    }
    at = datetime.fromtimestamp(1600112502, UTC)
    return InboundRequest("POST", given | headers, {}, body, at, "https://bq.example/h/1")


def test_sendgrids_documented_signature_is_accepted():
    [one] = event(documented(), account(verification_key=DOCUMENTED_KEY), Events())

    assert (one.key, one.data["message_id"]) == (DOCUMENTED_EVENT["sg_event_id"], "LRzXl_NHStOGhQ4kofSm_A")


@pytest.mark.parametrize(
    "altered",
    [
        documented(**{"x-twilio-email-event-webhook-timestamp": "1600112503"}),
        documented(**{"x-twilio-email-event-webhook-timestamp": ""}),
        documented(**{"x-twilio-email-event-webhook-signature": DOCUMENTED_SIGNATURE[:-8] + "AAAAAAA="}),
        documented(**{"x-twilio-email-event-webhook-signature": ""}),
        documented(**{"x-twilio-email-event-webhook-signature": "ÄÖ"}),
        documented(**{"x-twilio-email-event-webhook-signature": "A"}),
        replace(documented(), body=documented().body.replace(b"dropped", b"opened!")),
        replace(documented(), body=documented().body.strip()),
        replace(documented(), body=b"\xff\xfe"),
        replace(documented(), headers={}),
    ],
)
def test_an_altered_call_is_refused(altered):
    with pytest.raises(RefusedError, match="could not be verified") as refused:
        event(altered, account(verification_key=DOCUMENTED_KEY), Events())

    assert refused.value.status == 401


def test_another_key_is_refused():
    with pytest.raises(RefusedError):
        event(documented(), signed(), Events())


@pytest.mark.parametrize("age", [timedelta(hours=26), timedelta(minutes=-10)])
def test_a_call_of_another_time_is_refused(age):
    with pytest.raises(RefusedError, match="too long ago"):
        event(SIGNER.call([OPEN], NOW, sent_at=NOW - age), signed(), Events())


def test_a_call_that_sendgrid_repeats_for_a_day_is_taken():
    assert event(SIGNER.call([OPEN], NOW, sent_at=NOW - timedelta(hours=23)), signed(), Events())


def test_a_connection_without_verification_key_says_what_is_missing():
    with pytest.raises(RefusedError, match="no verification key"):
        event(SIGNER.call([OPEN], NOW), account(), Events())


# the stand-in

GOOD = {
    "personalizations": [{"to": [{"email": "ada@example.com"}]}],
    "from": {"email": provider.SENDER},
    "subject": "x",
    "content": [{"type": "text/plain", "value": "x"}],
}


def request(body, path="/v3/mail/send", method="POST", key=provider.KEY):
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return Received(method, path, {}, headers, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (replace(request(GOOD), headers={}), 401),
        (request(GOOD, key="SG.unknown"), 401),
        (request(GOOD, key=provider.NO_MAIL_KEY), 403),
        (request(GOOD | {"from": {"email": "x@example.com"}}), 403),
        (request({name: value for name, value in GOOD.items() if name != "from"}), 400),
        (request({name: value for name, value in GOOD.items() if name != "subject"}), 400),
        (request(GOOD | {"subject": ""}), 400),
        (request(GOOD | {"personalizations": [{"cc": []}]}), 400),
        (request(GOOD | {"personalizations": [{"to": "ada@example.com"}]}), 400),
        (request(GOOD | {"content": [{"type": "text/plain", "value": ""}]}), 400),
        (
            request(
                GOOD | {"content": list(reversed([*GOOD["content"], {"type": "text/html", "value": "x"}]))}
            ),
            400,
        ),
        (request(GOOD | {"attachments": [{"filename": "x"}]}), 400),
        (request(GOOD | {"attachments": [{"filename": "x", "content": "%%%"}]}), 400),
        (request(GOOD | {"template": "x"}), 400),
        (request(GOOD | {"template_id": "d-unknown"}), 400),
        (request({"contacts": []}, "/v3/marketing/contacts", "PUT"), 400),
        (request({"contacts": [{"email": "x"}]}, "/v3/marketing/contacts", "PUT"), 400),
        (request({"contacts": [{"email": "a@b.de", "nick": "x"}]}, "/v3/marketing/contacts", "PUT"), 400),
        (request({}, "/v3/marketing/contacts", "PUT", provider.NO_CONTACTS_KEY), 403),
        (request({}, "/v3/nothing"), 404),
    ],
)
def test_the_stand_in_refuses_what_sendgrid_refuses(given, status):
    sendgrid_itself = provider.SendGrid()

    assert sendgrid_itself.answer(given).status == status
    assert not sendgrid_itself.mails
    assert not sendgrid_itself.contacts


def test_the_stand_in_takes_what_sendgrid_takes():
    assert provider.SendGrid().answer(request(GOOD)).status == 202
