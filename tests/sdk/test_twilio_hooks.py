import hashlib
import json
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from app.sdk.declare import InboundRequest
from app.sdk.errors import RefusedError
from app.sdk.twilio_hooks import verify
from tests.integrations.conftest import NOW
from tests.providers.specs import spec_path
from tests.providers.twilio import signed_call

VECTOR = json.loads(spec_path("twilio/request_signature_vector.json").read_text())
FORM = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": VECTOR["signature"]}
URL = "https://bq.example/h/1"


def documented(**changed):
    body = urlencode(VECTOR["params"]).encode()
    return replace(InboundRequest("POST", FORM, {}, body, NOW, VECTOR["url"]), **changed)


def assert_refused(request, token):
    with pytest.raises(RefusedError, match="could not be verified") as refused:
        verify(request, token)

    assert refused.value.status == 401


def test_twilios_documented_signature_is_accepted():
    verify(documented(), VECTOR["auth_token"])


def test_the_usual_port_may_stand_in_the_address():
    verify(documented(url=VECTOR["url"].replace(".com/", ".com:443/")), VECTOR["auth_token"])


@pytest.mark.parametrize(
    "changed",
    [
        {"url": VECTOR["url"].replace("bar=2", "bar=3")},
        {"url": VECTOR["url"].replace("https", "http")},
        {"url": VECTOR["url"].replace("mycompany", "evil")},
        {"body": urlencode(VECTOR["params"] | {"Digits": "1235"}).encode()},
        {"body": urlencode(VECTOR["params"] | {"Extra": "1"}).encode()},
        {"body": urlencode(VECTOR["params"]).encode() + b"&Digits=9"},
        {"body": b""},
        {"headers": FORM | {"x-twilio-signature": VECTOR["signature"].swapcase()}},
        {"headers": FORM | {"x-twilio-signature": ""}},
        {"headers": {"content-type": FORM["content-type"]}},
        {"headers": FORM | {"content-type": "application/json"}},
    ],
)
def test_an_altered_call_is_refused(changed):
    assert_refused(documented(**changed), VECTOR["auth_token"])


def test_another_token_is_refused():
    assert_refused(documented(), "12346")


def with_json(body, *, hashed=None):
    digest = hashlib.sha256(body if hashed is None else hashed).hexdigest()
    signed = signed_call(f"{URL}?bodySHA256={digest}", {}, NOW, token="12345")
    return replace(signed, body=body, headers=dict(signed.headers) | {"content-type": "application/json"})


def test_json_is_signed_by_its_hash_in_the_address():
    verify(with_json(b'{"a": "\xc3\xa9"}'), "12345")


def test_other_json_than_was_hashed_is_refused():
    assert_refused(with_json(b'{"a": 2}', hashed=b'{"a": 1}'), "12345")


def test_json_without_a_hash_is_refused_though_the_address_is_signed():
    signed = signed_call(URL, {}, NOW, token="12345")

    assert_refused(
        replace(signed, body=b"{}", headers=dict(signed.headers) | {"content-type": "application/json"}),
        "12345",
    )


def test_a_name_that_repeats_is_signed_with_each_value():
    once = signed_call(URL, {"a": "1" + "a" + "2"}, NOW, token="12345")

    verify(replace(once, body=b"a=2&a=1"), "12345")
