import base64
import hashlib
import hmac
import json
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.integrations.webhook import Catch, SigningSecret, check, received
from app.sdk.declare import InboundRequest
from app.sdk.errors import RefusedError
from app.sdk.fields import sentences
from tests.integrations.conftest import NOW

SPEC = Path(__file__).parents[3] / "shared" / "specs" / "standard-webhooks" / "vectors.json"
COPY = Path(__file__).parents[1] / "providers" / "vectors" / "standard-webhooks.json"
VECTOR = json.loads((SPEC if SPEC.exists() else COPY).read_text())["vectors"][0]
SIGNED = VECTOR["payload"].encode()

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
GITHUB = SigningSecret(scheme="hmac", secret="it is a secret", header="X-Hub-Signature-256", prefix="sha256=")
TOKEN = SigningSecret(scheme="token", secret="it is a secret", header="X-Gitlab-Token")
STANDARD = SigningSecret(secret=VECTOR["secret"])


def call(body=b"{}", headers=JSON, *, method="POST", query=None, at=NOW):
    return InboundRequest(method, headers, query or {}, body, at, "https://bq.example/hooks/x")


def catch(request, connection=None, **params):
    [occurrence] = received(request, connection, Catch(**params))
    return occurrence


def refused(request, connection=None, **params):
    with pytest.raises(RefusedError) as error:
        catch(request, connection, **params)
    return error.value


# what a call becomes


def test_the_fields_of_a_json_object_stand_directly_in_the_event():
    data = catch(call(b'{"total": 150}', {**JSON, "user-agent": "shop"}, query={"from": "shop"})).data

    assert data["total"] == 150
    assert data["_request"] == {
        "method": "POST",
        "content_type": "application/json",
        "query": {"from": "shop"},
        "headers": {"user-agent": "shop"},
    }


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"[1, 2]", JSON, {"body": [1, 2]}),
        (b"null", {"content-type": "application/vnd.api+json; charset=utf-8"}, {"body": None}),
        (b"a=1&b=2&b=3&c=", FORM, {"a": "1", "b": ["2", "3"], "c": ""}),
        (b"tag=x&tag=y&tag=z", FORM, {"tag": ["x", "y", "z"]}),
        ("grüße".encode(), {"content-type": "text/plain"}, {"text": "grüße"}),
        (b'{"total": 1}', {}, {"total": 1}),
        (b"just text", {}, {"text": "just text"}),
        (b"", {}, {}),
    ],
)
def test_a_body_is_read_as_what_it_is_labelled(body, headers, expected):
    data = dict(catch(call(body, headers)).data)

    data.pop("_request")

    assert data == expected


def test_json_labelled_as_a_form_is_read_as_a_form():
    data = catch(call(b'{"total": 150}', FORM)).data

    assert data['{"total": 150}'] == ""


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"total=150&order=1", JSON, 400, "not JSON"),
        (b"", JSON, 400, "empty"),
        (b'{"a": "\xff"}', JSON, 400, "UTF-8"),
        (b"\xff\xfe", {"content-type": "text/plain"}, 400, "UTF-8"),
        (b"\xff\xfe", {}, 400, "UTF-8"),
        (b"a=%ff", FORM, 400, "UTF-8"),
        (b"&" * 5_000, FORM, 400, "1000 fields"),
        (b"[" * 100_000, JSON, 400, "nested"),
        (b'{"a": NaN}', JSON, 400, "NaN"),
        (b'{"a": 1e999}', JSON, 400, "too large"),
        (b'{"a": ' + b"1" * 5_000 + b"}", JSON, 400, "digits"),
        (b"--x", {"content-type": "multipart/form-data; boundary=x"}, 415, "multipart"),
        (b"\x1f\x8b", {**JSON, "content-encoding": "gzip"}, 415, "compressed"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_with_a_sentence(body, headers, status, words):
    error = refused(call(body, headers))

    assert error.status == status
    assert words in str(error)


def test_credentials_and_noise_of_the_call_are_left_out():
    headers = {
        **JSON,
        "authorization": "Bearer abc",
        "cookie": "a=b",
        "x-api-key": "k",
        "x-gitlab-token": "it is a secret",
        "x-forwarded-for": "10.0.0.1",
        "host": "bq.example",
        "x-shop-topic": "orders/create",
    }

    about = catch(call(headers=headers), TOKEN).data["_request"]

    assert about["headers"] == {"x-shop-topic": "orders/create"}


def test_a_header_that_is_the_secret_is_left_out_whatever_its_name():
    connection = SigningSecret(scheme="token", secret="it is a secret", header="X-Greeting")

    data = catch(call(headers={**JSON, "x-greeting": "it is a secret"}), connection).data

    assert "it is a secret" not in json.dumps(data)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_only_calls_that_bring_something_are_taken(method):
    assert refused(call(method=method)).status == 405


def test_a_get_call_brings_its_query_where_that_is_allowed():
    data = catch(call(b"", {}, method="GET", query={"total": "150"}), allow_get=True).data

    assert data["total"] == "150"


def test_a_get_call_cannot_carry_a_signature():
    assert refused(call(b"", {}, method="GET", query={"total": "9"}), GITHUB, allow_get=True).status == 401


# which event it is


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"webhook-id": "msg_1"}, "msg_1"),
        ({"idempotency-key": "k1"}, "k1"),
        ({"x-github-delivery": "72d3162e"}, "72d3162e"),
        ({"ce-id": "7", "ce-source": "/shop"}, "/shop 7"),
        ({}, None),
    ],
)
def test_the_senders_delivery_id_names_the_event(headers, key):
    assert catch(call(headers={**JSON, **headers})).key == key


def test_a_cloud_event_is_named_by_source_and_id_of_its_body():
    body = b'{"specversion": "1.0", "id": "A234", "source": "/mycontext", "type": "t"}'

    assert catch(call(body, {"content-type": "application/cloudevents+json"})).key == "/mycontext A234"


@pytest.mark.parametrize("field", ["order.id", "event.order.id"])
def test_a_chosen_field_names_the_event_before_any_header(field):
    body = b'{"order": {"id": 1001}}'

    assert catch(call(body, {**JSON, "webhook-id": "msg_1"}), key_field=field).key == "1001"


@pytest.mark.parametrize("field", ["order.nothing", "][", "_request.query.x"])
def test_a_chosen_field_that_is_not_there_names_nothing(field):
    assert catch(call(), key_field=field).key is None


def test_a_long_name_is_shortened_to_one_of_its_own():
    keys = {catch(call(headers={**JSON, "webhook-id": "x" * 5_000 + end})).key for end in "ab"}

    assert len(keys) == 2
    assert max(map(len, keys)) < 100


# standard webhooks


def sent_at(offset_s=0):
    return NOW.fromtimestamp(VECTOR["webhook-timestamp"], NOW.tzinfo) + timedelta(seconds=offset_s)


def standard_call(body=SIGNED, *, offset_s=0, **changed):
    headers = {
        **JSON,
        "webhook-id": VECTOR["webhook-id"],
        "webhook-timestamp": str(VECTOR["webhook-timestamp"]),
        "webhook-signature": VECTOR["webhook-signature"],
    }
    headers |= {f"webhook-{name}": value for name, value in changed.items()}
    return call(body, headers, at=sent_at(offset_s))


def test_the_vector_of_the_specification_is_accepted():
    occurrence = catch(standard_call(), STANDARD)

    assert occurrence.key == VECTOR["webhook-id"]
    assert occurrence.data["test"] == 2432232314


@pytest.mark.parametrize("offset_s", [-300, 300])
def test_a_call_of_300_seconds_ago_or_ahead_is_accepted(offset_s):
    assert catch(standard_call(offset_s=offset_s), STANDARD)


@pytest.mark.parametrize("offset_s", [-301, 301, 86_400])
def test_a_call_of_another_time_is_refused(offset_s):
    assert refused(standard_call(offset_s=offset_s), STANDARD).status == 401


def test_one_good_signature_in_a_list_is_enough():
    listed = f"v1,bm90IHRoaXMgb25l v1a,hnO3f9T8Ytu9 junk {VECTOR['webhook-signature']}"

    assert catch(standard_call(signature=listed), STANDARD)


@pytest.mark.parametrize(
    "changed",
    [
        {"signature": ""},
        {"signature": "v1,"},
        {"signature": VECTOR["webhook-signature"].replace("v1,", "v2,")},
        {"signature": "no comma here"},
        {"signature": "v1,schlüssel"},
        {"timestamp": "1614265331"},
        {"timestamp": ""},
        {"timestamp": "soon"},
        {"timestamp": "9" * 400},
        {"timestamp": "-1614265330"},
        {"timestamp": "²"},
        {"id": ""},
        {"id": "msg_another"},
    ],
)
def test_a_standard_signature_that_does_not_fit_is_refused(changed):
    assert refused(standard_call(**changed), STANDARD).status == 401


@pytest.mark.parametrize("body", [b'{"test":  2432232314}', b"", b"\xff"])
def test_a_changed_body_is_refused(body):
    assert refused(standard_call(body), STANDARD).status == 401


def test_another_secret_is_refused():
    other = SigningSecret(secret="whsec_" + base64.b64encode(b"n" * 24).decode())

    assert refused(standard_call(), other).status == 401


def test_an_exact_replay_has_the_same_name_and_so_makes_no_second_event():
    assert catch(standard_call(), STANDARD) == catch(standard_call(), STANDARD)


# hmac and token


def github_call(body=b'{"total": 150}', signature=None, secret=b"it is a secret", digest=hashlib.sha256):
    signature = signature if signature is not None else "sha256=" + hmac.new(secret, body, digest).hexdigest()
    return call(body, {**JSON, "x-hub-signature-256": signature})


def test_a_signature_as_github_sends_it_is_accepted():
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    connection = SigningSecret(
        scheme="hmac", secret="It's a Secret to Everybody", header="X-Hub-Signature-256", prefix="sha256="
    )
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    request = call(b"Hello, World!", {"content-type": "text/plain", "x-hub-signature-256": signature})

    assert catch(request, connection).data["text"] == "Hello, World!"


@pytest.mark.parametrize("algorithm", ["sha1", "sha512"])
def test_a_base64_signature_of_another_algorithm_is_accepted(algorithm):
    connection = SigningSecret(
        scheme="hmac", secret="it is a secret", header="X-Shop-Hmac", algorithm=algorithm, encoding="base64"
    )
    signature = base64.b64encode(hmac.digest(b"it is a secret", b"{}", algorithm)).decode()

    assert catch(call(b"{}", {**JSON, "x-shop-hmac": signature}), connection)


@pytest.mark.parametrize(
    "request_",
    [
        call(b'{"total": 150}'),
        github_call(signature=""),
        github_call(signature="sha256="),
        github_call(signature="sha256=é"),
        github_call(secret=b"it is another secret"),
        github_call(digest=hashlib.sha1),
        call(b'{"total":  150}', github_call().headers),
        call(b'{"total": 150} ', github_call().headers),
    ],
)
def test_an_hmac_that_does_not_fit_is_refused(request_):
    assert refused(request_, GITHUB).status == 401


@pytest.mark.parametrize("token", [None, "", "it is a secre", "it is a secret ", "schlüssel"])
def test_a_token_that_does_not_fit_is_refused(token):
    headers = JSON if token is None else {**JSON, "x-gitlab-token": token}

    assert refused(call(headers=headers), TOKEN).status == 401


def test_a_token_that_fits_is_accepted():
    assert catch(call(headers={**JSON, "x-gitlab-token": "it is a secret"}), TOKEN)


def test_every_failed_proof_is_told_in_the_same_words():
    told = {
        str(refused(call(), TOKEN)),
        str(refused(github_call(signature="x"), GITHUB)),
        str(refused(standard_call(offset_s=301), STANDARD)),
        str(refused(standard_call(b"{}"), STANDARD)),
    }

    assert told == {"this call could not be verified; compare the signing secret on both sides"}


# the account


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"secret": ""}, "secret"),
        ({"secret": "whsec_"}, "secret"),
        ({"secret": "short"}, "secret"),
        ({"secret": "whsec_§§§§§§§§"}, "secret"),
        ({"scheme": "hmac", "secret": "        "}, "secret"),
        ({"scheme": "hmac", "secret": "it is a secret"}, "header"),
        ({"scheme": "token", "secret": "it is a secret", "header": " "}, "header"),
        ({"scheme": "md5", "secret": "it is a secret"}, "scheme"),
    ],
)
def test_a_secret_that_proves_nothing_is_refused(fields, where):
    with pytest.raises(ValidationError) as error:
        SigningSecret(**fields)

    assert where in sentences(error.value)


def test_the_check_says_what_it_can(ctx):
    assert check(ctx, STANDARD) == "kept; the first signed call proves it"
