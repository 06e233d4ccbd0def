import base64
import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from app.integrations.whatsapp import (
    Account,
    Media,
    Message,
    Template,
    check,
    media,
    received,
    send,
    status,
    template,
)
from app.sdk.declare import NoSettings, Reply
from app.sdk.errors import AuthError, RefusedError, RejectedError, TemporaryError
from app.sdk.twilio_hooks import StatusFilter
from tests.integrations.conftest import NOW
from tests.providers import twilio as provider
from tests.providers.http import Says

URL = "https://bq.example/api/v1/hooks/abc"
ADA = "+4915112345678"
SHOP = provider.SHOP.removeprefix("whatsapp:")
PDF = "https://shop.example/invoices/A-1001.pdf"


def account(**fields):
    given = {"account_sid": provider.ACCOUNT_SID, "auth_token": provider.AUTH_TOKEN, "sender": SHOP}
    return Account.model_validate(given | fields)


@pytest.fixture
def server():
    with provider.twilio_server() as stand_in:
        yield stand_in


@pytest.fixture
def whatsapp_ctx(ctx, server):
    return replace(ctx, base_url=server.url)


@pytest.fixture
def wrote(server):
    """Ada has written within the last 24 hours."""
    server.open_to.add("whatsapp:" + ADA)


def every_way():
    return [
        (send, Message(to=ADA, text="hello")),
        (template, Template(to=ADA, content_sid=provider.TEMPLATE_SID)),
        (media, Media(to=ADA, url=PDF)),
    ]


# sending


def test_an_answer_goes_out_with_the_prefix_that_people_need_not_know(whatsapp_ctx, server, wrote):
    output = send(whatsapp_ctx, account(), Message(to="whatsapp:+49 151 12345678", text="*order* A-1001"))

    [form] = server.forms
    assert form == {"To": ["whatsapp:" + ADA], "From": ["whatsapp:" + SHOP], "Body": ["*order* A-1001"]}
    assert output == {"message_id": server.sent[0]["sid"], "status": "queued", "to": ADA, "from": SHOP}


def test_a_template_carries_its_variables_as_json(whatsapp_ctx, server):
    params = Template(to=ADA, content_sid=provider.TEMPLATE_SID, variables={"1": "Ada", "total": 150})

    template(whatsapp_ctx, account(), params)

    [form] = server.forms
    assert json.loads(form["ContentVariables"][0]) == {"1": "Ada", "total": "150"}
    assert form["ContentSid"] == [provider.TEMPLATE_SID]
    assert "Body" not in form


def test_a_template_without_variables_sends_none(whatsapp_ctx, server):
    template(whatsapp_ctx, account(), Template(to=ADA, content_sid=provider.TEMPLATE_SID))

    assert "ContentVariables" not in server.forms[0]


def test_a_file_goes_by_its_address(whatsapp_ctx, server, wrote):
    output = media(whatsapp_ctx, account(), Media(to=ADA, url=PDF, text="your invoice"))

    [form] = server.forms
    assert (form["MediaUrl"], form["Body"]) == ([PDF], ["your invoice"])
    assert output["message_id"].startswith("MM")


def test_a_messaging_service_has_no_prefix(whatsapp_ctx, server):
    params = Template(to=ADA, content_sid=provider.TEMPLATE_SID, status_url="https://bq.example/h/2")

    template(whatsapp_ctx, account(sender=provider.SERVICE_SID), params)

    assert server.forms[0]["MessagingServiceSid"] == [provider.SERVICE_SID]
    assert server.forms[0]["StatusCallback"] == ["https://bq.example/h/2"]


@pytest.mark.parametrize(
    ("action", "params"),
    [(send, Message(to=ADA, text="hello")), (media, Media(to=ADA, url=PDF))],
)
def test_outside_of_the_window_templates_are_pointed_to(whatsapp_ctx, server, action, params):
    with pytest.raises(RejectedError, match=rf"\{ADA} has not written within 24 hours.*use send a template"):
        action(whatsapp_ctx, account(), params)

    assert not server.sent


@pytest.mark.parametrize(
    ("fields", "params", "words"),
    [
        ({"sender": "+493012345678"}, {}, r"\+493012345678 is no whatsapp sender of this account"),
        ({}, {"content_sid": "HX" + "0" * 32}, "the template is not known"),
        ({}, {"variables": {"1": "two\nlines"}}, "give each of them a text without line breaks"),
    ],
)
def test_a_wrong_sender_or_template_is_named(whatsapp_ctx, fields, params, words):
    given = Template.model_validate({"to": ADA, "content_sid": provider.TEMPLATE_SID} | params)

    with pytest.raises(RejectedError, match=words):
        template(whatsapp_ctx, account(**fields), given)


def test_a_wrong_token_breaks_the_connection_whatever_is_sent(whatsapp_ctx):
    for action, params in every_way():
        with pytest.raises(AuthError, match="check account sid and auth token"):
            action(whatsapp_ctx, account(auth_token="wrong"), params)


@pytest.mark.parametrize(
    ("says", "sent", "after"),
    [
        (provider.fault(429, 63018, "Rate limit exceeded for Channel", **{"Retry-After": "3"}), False, 3),
        (Says(502), True, None),
        (Says(hang_up=True), True, None),
    ],
)
def test_a_repeat_is_harmless_only_if_nothing_was_sent(whatsapp_ctx, server, says, sent, after):
    server.server.answer = lambda request: says

    for action, params in every_way():
        with pytest.raises(TemporaryError) as failure:
            action(whatsapp_ctx, account(), params)

        assert (failure.value.sent, failure.value.after) == (sent, after)


@pytest.mark.parametrize(
    "url", ["", "invoice.pdf", "file:///etc/passwd", "https://", "fil_0123", "javascript:x"]
)
def test_a_file_without_a_public_address_is_refused_beside_its_field(url):
    with pytest.raises(ValidationError, match="must be a public address"):
        Media(to=ADA, url=url)


@pytest.mark.parametrize("sid", ["", "HX1", "MG" + "0" * 32, "HX" + "0" * 33])
def test_a_template_that_is_none_is_refused_beside_its_field(sid):
    with pytest.raises(ValidationError, match="HX and 32"):
        Template(to=ADA, content_sid=sid)


def test_a_name_is_no_whatsapp_sender():
    with pytest.raises(ValidationError, match="country code"):
        account(sender="MyShop")


def test_a_check_sends_nothing(whatsapp_ctx, server):
    assert check(whatsapp_ctx, account()) == "signed in to twilio as Example Shop"
    assert not server.sent


# triggers

INCOMING = {
    "MessageSid": "MM" + "0" * 31 + "1",
    "SmsStatus": "received",
    "From": "whatsapp:" + ADA,
    "To": provider.SHOP,
    "Body": "",
    "ProfileName": "Ada",
    "WaId": "4915112345678",
    "NumMedia": "2",
    "MediaUrl0": "https://api.twilio.com/media/ME1",
    "MediaContentType0": "image/jpeg",
    "MediaUrl1": "https://api.twilio.com/media/ME2",
    "MediaContentType1": "application/pdf",
    "MessageType": "image",
}


def call(fields, **more):
    return provider.signed_call(URL, fields, NOW, **more)


def test_an_incoming_message_brings_name_and_files():
    [one] = received(call(INCOMING), account(), NoSettings())

    assert one.key == INCOMING["MessageSid"]
    assert (one.data["from"], one.data["to"], one.data["name"]) == (ADA, SHOP, "Ada")
    assert [each["type"] for each in one.data["media"]] == ["image/jpeg", "application/pdf"]
    assert one.data["other"] == {"MessageType": "image"}


def test_a_place_and_a_tapped_button_are_kept():
    fields = INCOMING | {
        "ButtonText": "Yes",
        "ButtonPayload": "yes-1",
        "Latitude": "52.5",
        "Longitude": "13.4",
    }

    [one] = received(call(fields), account(), NoSettings())

    assert one.data["button"] == "yes-1"
    assert (one.data["other"]["Latitude"], one.data["other"]["Longitude"]) == ("52.5", "13.4")


def test_an_answer_to_an_incoming_message_goes_back_to_its_sender(whatsapp_ctx, server, wrote):
    [one] = received(call(INCOMING), account(), NoSettings())

    send(whatsapp_ctx, account(), Message(to=one.data["from"], text="found it"))

    assert server.sent[0]["to"] == INCOMING["From"]


def test_a_text_message_is_not_for_whatsapp():
    assert isinstance(received(call(INCOMING | {"From": ADA}), account(), NoSettings()), Reply)


def test_a_change_of_status_tells_of_the_window():
    fields = {
        "MessageSid": "SM1",
        "MessageStatus": "failed",
        "From": provider.SHOP,
        "To": "whatsapp:" + ADA,
        "ErrorCode": "63016",
        "ChannelToAddress": "+4915112XXXX",
    }

    [one] = status(call(fields), account(), StatusFilter())

    assert one.key == "SM1 failed"
    assert (one.data["to"], one.data["error_code"]) == (ADA, 63016)
    assert "use send a template" in one.data["error"]


@pytest.mark.parametrize("trigger", [received, status])
def test_a_wrong_signature_is_refused(trigger):
    params = StatusFilter() if trigger is status else NoSettings()

    with pytest.raises(RefusedError) as refused:
        trigger(call(INCOMING, token="of-somebody-else"), account(), params)

    assert refused.value.status == 401


# the stand-in


@pytest.mark.parametrize(
    "fields",
    [
        {"To": "whatsapp:" + ADA, "From": provider.NUMBER, "ContentSid": provider.TEMPLATE_SID},
        {"To": "whatsapp:" + ADA, "From": provider.SHOP, "Body": "free text"},
        {"To": "whatsapp:" + ADA, "From": provider.SHOP, "ContentSid": "HX1"},
        {
            "To": "whatsapp:" + ADA,
            "From": provider.SHOP,
            "ContentSid": provider.TEMPLATE_SID,
            "ContentVariables": "x",
        },
    ],
)
def test_the_stand_in_refuses_what_whatsapp_refuses(ctx, server, fields):
    login = (provider.ACCOUNT_SID, provider.AUTH_TOKEN)
    answer = ctx.http.request(
        "POST",
        server.url + provider._MESSAGES,
        form=fields,
        headers={"Authorization": "Basic " + base64.b64encode(":".join(login).encode()).decode()},
    )

    assert answer.status == 400
    assert not server.sent
