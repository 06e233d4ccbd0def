import base64
from dataclasses import replace

import pytest
from pydantic import ValidationError

from app.integrations.sms import Account, Message, Number, check, look_up, received, send, status
from app.sdk import twilio
from app.sdk.declare import NoSettings, Reply
from app.sdk.errors import AuthError, RefusedError, RejectedError, TemporaryError
from app.sdk.fields import sentences
from app.sdk.twilio_hooks import StatusFilter
from tests.integrations.conftest import NOW
from tests.providers import openapi
from tests.providers import twilio as provider
from tests.providers.http import Received, Says

URL = "https://bq.example/api/v1/hooks/abc"
ADA = "+4915112345678"


def account(**fields):
    given = {
        "account_sid": provider.ACCOUNT_SID,
        "auth_token": provider.AUTH_TOKEN,
        "sender": provider.NUMBER,
    }
    return Account.model_validate(given | fields)


def keyed(**fields):
    return account(auth_token="", key_sid=provider.KEY_SID, key_secret=provider.KEY_SECRET, **fields)


@pytest.fixture
def server():
    with provider.twilio_server() as stand_in:
        yield stand_in


@pytest.fixture
def sms_ctx(ctx, server):
    return replace(ctx, base_url=server.url + "/")


def text(**fields):
    return Message.model_validate({"to": ADA, "text": "hello"} | fields)


# sending


def test_a_message_is_sent_by_twilios_own_client_and_can_be_read_back(sms_ctx, server):
    output = send(sms_ctx, account(), text(to="+49 151 / 123-456 78", text="Grüße über 150 €"))

    [kept] = server.sent
    [request] = server.server.received
    assert (kept["to"], kept["from"], kept["body"]) == (ADA, provider.NUMBER, "Grüße über 150 €")
    assert "twilio-python" in request.headers["user-agent"]
    assert output == {"message_id": kept["sid"], "status": "queued", "to": ADA, "from": provider.NUMBER}
    assert twilio.client(sms_ctx, account()).messages.list()[0].sid == kept["sid"]


def test_a_messaging_service_stands_for_the_number(sms_ctx, server):
    output = send(sms_ctx, account(sender=provider.SERVICE_SID), text(status_url="https://bq.example/h/1"))

    [form] = server.forms
    assert form == {
        "To": [ADA],
        "Body": ["hello"],
        "MessagingServiceSid": [provider.SERVICE_SID],
        "StatusCallback": ["https://bq.example/h/1"],
    }
    assert output["from"] == ""


def test_an_api_key_signs_in_for_the_account(sms_ctx, server):
    send(sms_ctx, keyed(), text())

    [request] = server.server.received
    login = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
    assert login == f"{provider.KEY_SID}:{provider.KEY_SECRET}"
    assert provider.ACCOUNT_SID in request.path


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("+15005550001", r"\+15005550001 is no phone number that can be reached; correct it \(400 21211\)"),
        ("+15005550002", r"\+15005550002 cannot be reached from \+15005550006"),
        ("+15005550003", "geo permissions"),
        ("+15005550004", r"\+15005550004 answered STOP"),
        ("+15005550009", r"\+15005550009 is no mobile number"),
    ],
)
def test_a_number_that_cannot_be_reached_is_named(sms_ctx, server, to, words):
    with pytest.raises(RejectedError, match=words):
        send(sms_ctx, account(), text(to=to))

    assert not server.sent


def test_a_sender_that_cannot_send_is_named(sms_ctx):
    with pytest.raises(RejectedError, match=r"\+15005550007 cannot send such messages"):
        send(sms_ctx, account(sender="+15005550007"), text())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"auth_token": "wrong-token-of-somebody"}, "20003"),
        ({"auth_token": "", "key_sid": provider.KEY_SID, "key_secret": "wrong-secret"}, "check account sid"),
        ({"auth_token": "", "key_sid": provider.WEAK_KEY_SID, "key_secret": provider.KEY_SECRET}, "right"),
    ],
)
def test_credentials_that_are_refused_name_the_mend(sms_ctx, fields, words):
    with pytest.raises(AuthError, match=words) as failure:
        send(sms_ctx, account(**fields), text())

    assert not [value for value in fields.values() if value and value in str(failure.value)]


@pytest.mark.parametrize(
    ("says", "sent", "after"),
    [
        (provider.fault(429, 20429, "Too Many Requests", **{"Retry-After": "7"}), False, 7),
        (provider.fault(503, 20503, "Service unavailable"), False, None),
        (Says(503, b"<html>down</html>"), False, None),
        (provider.fault(500, 20500, "Internal Server Error"), True, None),
        (Says(502), True, None),
        (Says(504), True, None),
        (Says(hang_up=True), True, None),
        (Says(201, b"<html>proxy</html>"), True, None),
        (Says(201, b"[]"), True, None),
    ],
)
def test_twilio_that_cannot_now_is_asked_again_only_if_nothing_was_sent(sms_ctx, server, says, sent, after):
    server.server.answer = lambda request: says

    with pytest.raises(TemporaryError) as failure:
        send(sms_ctx, account(), text())

    assert (failure.value.sent, failure.value.after) == (sent, after)
    assert len(server.server.received) == 1


def test_a_full_queue_waits(sms_ctx):
    with pytest.raises(TemporaryError) as failure:
        send(sms_ctx, account(sender=provider.FULL_SENDER), text())

    assert failure.value.sent is False


def test_a_slow_twilio_may_have_sent_it(sms_ctx, server, monkeypatch):
    monkeypatch.setattr(twilio, "_DEADLINE_S", 0.2)
    server.pause_s = 0.6

    with pytest.raises(TemporaryError, match="in time") as failure:
        send(sms_ctx, account(), text())

    assert failure.value.sent


def test_a_message_that_failed_at_once_is_no_success(sms_ctx, server):
    failed = {"sid": "SM1", "status": "failed", "error_code": 30006, "to": ADA, "from": None}
    server.server.answer = lambda request: provider.says_json(failed, 201)

    with pytest.raises(
        RejectedError, match=r"\+4915112345678 cannot take messages; it may be a landline \(30006\)"
    ):
        send(sms_ctx, account(), text())


def test_an_unknown_objection_is_told_in_twilios_words_on_one_line(sms_ctx, server):
    server.server.answer = lambda request: provider.fault(400, 29999, "Something\n<b>else</b>.")

    with pytest.raises(RejectedError, match=r"something <b>else</b> \(400 29999\)$"):
        send(sms_ctx, account(), text())


def test_a_redirect_is_not_followed(sms_ctx, server):
    server.server.answer = lambda request: Says(302, headers={"Location": server.url + "/elsewhere"})

    with pytest.raises(RejectedError):
        send(sms_ctx, account(), text())

    assert len(server.server.received) == 1


def test_the_environment_changes_neither_host_nor_login(sms_ctx, server, monkeypatch):
    monkeypatch.setenv("TWILIO_REGION", "evil")
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "of-somebody-else")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")

    assert send(sms_ctx, account(), text())["status"] == "queued"


# the account


def test_a_check_sends_nothing_and_tells_whose_account_it_is(sms_ctx, server):
    assert check(sms_ctx, account()) == "signed in to twilio as Example Shop"
    assert check(sms_ctx, keyed()) == "twilio accepts this key"
    assert {request.method for request in server.server.received} == {"GET"}


def test_a_suspended_account_is_told(sms_ctx):
    with pytest.raises(AuthError, match="suspended"):
        check(sms_ctx, account(account_sid=provider.SUSPENDED_SID))


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"account_sid": "SK" + "a" * 32}, "account_sid"),
        ({"auth_token": ""}, "key_secret"),
        ({"key_sid": provider.KEY_SID}, "key_secret"),
        ({"key_secret": "x"}, "key_secret"),
        ({"key_sid": "AC" + "a" * 32, "key_secret": "x"}, "key_sid"),
        ({"sender": "0151 1234567"}, "sender"),
        ({"sender": "A NAME TOO LONG"}, "sender"),
    ],
)
def test_an_account_that_cannot_work_is_refused_beside_its_field(fields, where):
    with pytest.raises(ValidationError) as error:
        account(**fields)

    assert where in sentences(error.value)


@pytest.mark.parametrize("sender", ["+1 500 555 0006", "MyShop", "12345", provider.SERVICE_SID])
def test_every_sort_of_sender_is_taken(sender):
    assert account(sender=sender).sender in {"+15005550006", sender}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("0151 12345678", "must begin with"),
        (4915112345678, "must begin with"),
        ("+49 (0) 151 12345678", "leave the"),
        ("+49", "7 to 15 digits"),
        ("+49151123456789012", "7 to 15 digits"),
        ("+4915112345678,+4915112345679", "7 to 15 digits"),
        ("ada", "must begin with"),
        ("", "must begin with"),
        ("+٤٩١٥١١٢٣٤٥٦٧", "7 to 15 digits"),
    ],
)
def test_what_is_no_number_is_refused_in_plain_words(typed, words):
    with pytest.raises(ValidationError, match=words):
        text(to=typed)


@pytest.mark.parametrize("fields", [{"text": ""}, {"text": "x" * 1601}, {"status_url": "ftp://x"}])
def test_what_twilio_would_refuse_is_refused_before_it_is_sent(fields):
    with pytest.raises(ValidationError):
        text(**fields)


# looking up


def test_a_number_is_looked_up(sms_ctx, server):
    output = look_up(
        sms_ctx,
        account(),
        Number(number="0151 12345678", country="de", details=["line_type_intelligence", "caller_name"]),
    )

    [request] = server.server.received
    assert request.path == "/v2/PhoneNumbers/015112345678"
    assert output == {
        "valid": True,
        "problems": [],
        "number": "+4915112345678",
        "national": "0151 12345678",
        "country": "DE",
        "line_type": "mobile",
        "carrier": "Telekom",
        "owner": "ADA EXAMPLE",
    }


def test_a_number_that_cannot_exist_is_an_answer_and_no_failure(sms_ctx, server):
    output = look_up(sms_ctx, account(), Number(number="+49151"))

    assert (output["valid"], output["problems"]) == (False, ["too short"])
    assert not server.server.received[0].query


def test_a_number_that_twilio_cannot_read_is_named(sms_ctx, server):
    server.server.answer = lambda request: provider.fault(404, 20404, "not found")

    with pytest.raises(RejectedError, match=r"twilio does not know \+4912"):
        look_up(sms_ctx, account(), Number(number="+4912"))


@pytest.mark.parametrize("number", ["../Accounts", "+49/../x?y", "abc", "", "1" * 41])
def test_what_is_no_number_never_becomes_part_of_an_address(number):
    with pytest.raises(ValidationError):
        Number(number=number)


# triggers

INCOMING = {
    "MessageSid": "SM" + "0" * 31 + "1",
    "SmsSid": "SM" + "0" * 31 + "1",
    "SmsStatus": "received",
    "AccountSid": provider.ACCOUNT_SID,
    "From": ADA,
    "To": provider.NUMBER,
    "Body": "wo ist meine Bestellung? & Grüße",
    "NumMedia": "1",
    "MediaUrl0": "https://api.twilio.com/media/ME1",
    "MediaContentType0": "image/jpeg",
    "FromCountry": "DE",
    "FromCity": "",
}
CHANGE = {
    "MessageSid": "SM" + "0" * 31 + "1",
    "MessageStatus": "undelivered",
    "SmsStatus": "undelivered",
    "From": provider.NUMBER,
    "To": ADA,
    "ErrorCode": "30005",
}


def call(fields, **more):
    return provider.signed_call(more.pop("url", URL), fields, NOW, **more)


def test_an_incoming_message_becomes_one_event(sms_ctx):
    [one] = received(call(INCOMING), account(), NoSettings())

    assert one.key == INCOMING["MessageSid"]
    assert one.data == {
        "message_id": INCOMING["MessageSid"],
        "from": ADA,
        "to": provider.NUMBER,
        "text": "wo ist meine Bestellung? & Grüße",
        "media": [{"url": "https://api.twilio.com/media/ME1", "type": "image/jpeg"}],
        "other": {"FromCountry": "DE", "FromCity": ""},
    }


def test_what_is_not_for_this_rule_is_answered_in_xml_and_makes_no_event():
    answers = [
        received(call(INCOMING | {"From": "whatsapp:" + ADA}), account(), NoSettings()),
        received(call(CHANGE), account(), NoSettings()),
        status(call(INCOMING), account(), StatusFilter()),
        status(call(CHANGE), account(), StatusFilter(statuses=["delivered"])),
        status(call(CHANGE | {"To": "whatsapp:" + ADA}), account(), StatusFilter()),
    ]

    assert all(isinstance(one, Reply) and one.content_type.startswith("text/xml") for one in answers)


def test_each_change_of_status_is_one_event_with_its_cause():
    [one] = status(call(CHANGE), account(), StatusFilter(statuses=["failed", "undelivered"]))
    [other] = status(call(CHANGE | {"MessageStatus": "sent", "ErrorCode": ""}), account(), StatusFilter())

    assert one.key != other.key
    assert (one.data["status"], one.data["error_code"]) == ("undelivered", 30005)
    assert one.data["error"] == "+4915112345678 does not exist any more"
    assert (other.data["error_code"], other.data["error"]) == (None, "")


@pytest.mark.parametrize(
    "altered",
    [
        {"body": b"Body=other&MessageSid=SM1"},
        {"url": URL + "?x=1"},
        {"url": "http://bq.example/api/v1/hooks/abc"},
        {"headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"headers": {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": "AAAA"}},
        {"headers": {"x-twilio-signature": "ÄÖ"}},
    ],
)
def test_an_altered_call_is_refused(altered):
    for trigger, params in ((received, NoSettings()), (status, StatusFilter())):
        with pytest.raises(RefusedError, match="could not be verified") as refused:
            trigger(replace(call(INCOMING), **altered), account(), params)

        assert refused.value.status == 401


def test_a_call_signed_by_another_account_is_refused():
    with pytest.raises(RefusedError):
        received(call(INCOMING, token="of-somebody-else"), account(), NoSettings())


def test_a_connection_without_auth_token_says_what_is_missing():
    with pytest.raises(RefusedError, match="no auth token"):
        received(call(INCOMING), keyed(), NoSettings())


def test_a_call_by_get_says_what_to_choose():
    with pytest.raises(RefusedError) as refused:
        received(replace(call(INCOMING), method="GET"), account(), NoSettings())

    assert refused.value.status == 405


# the stand-in


def request(path=provider._MESSAGES, body=b"", method="POST", kind="application/x-www-form-urlencoded"):
    login = base64.b64encode(f"{provider.ACCOUNT_SID}:{provider.AUTH_TOKEN}".encode()).decode()
    headers = {"authorization": f"Basic {login}", "content-type": kind}
    return Received(method, path, {}, headers, body)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (replace(request(body=b"To=%2B49151&Body=x&From=%2B1"), headers={}), 401),
        (request(body=b"Body=x&From=%2B15005550006"), 400),
        (request(body=b"To=%2B4915112345678&Body=x&From=%2B15005550006&MessagingServiceSid=XX1"), 400),
        (request(body=b"To=%2B4915112345678&Body=x&From=%2B15005550006&ContentSid=HX1"), 400),
        (request(body=b"To=%2B4915112345678&Body=x&From=%2B15005550006&Boddy=x"), 400),
        (request(body=b"To=%2B4915112345678&From=%2B15005550006"), 400),
        (request(body=b'{"To": "+4915112345678"}', kind="application/json"), 400),
        (request("/2010-04-01/Accounts/AC1/Messages.json", b"To=x"), 400),
        (request("/2010-04-01/Nothing.json", b"To=x"), 400),
        (request("/v2/PhoneNumbers/+4915112345678", method="POST"), 400),
        (replace(request("/v2/PhoneNumbers/+49", method="GET"), query={"Fields": ["everything"]}), 400),
    ],
)
def test_the_stand_in_refuses_what_twilio_refuses(given, status):
    twilio_itself = provider.Twilio()

    assert twilio_itself.answer(given).status == status
    assert not twilio_itself.sent


def test_the_stand_in_answers_as_the_specification_says():
    good = request(body=b"To=%2B4915112345678&Body=x&From=%2B15005550006")
    says = provider.Twilio().answer(good)

    assert (says.status, openapi.objection_to_answer(provider.SPEC, good, says)) == (201, None)
    assert openapi.objection_to_answer(provider.SPEC, good, provider.says_json({"sid": "nonsense"}, 201))
