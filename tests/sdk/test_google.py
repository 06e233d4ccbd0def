"""Google's own libraries over the guarded client, and what its answers mean."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import SecretStr, ValidationError

from app.sdk.addresses import AddressGuard
from app.sdk.declare import Context
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.fields import sentences
from app.sdk.google import (
    GoogleAccount,
    OAuth,
    access_token,
    google_errors,
    gspread_client,
    rest,
    sign_in,
    upload,
)
from app.sdk.http import HttpClient
from tests.providers import google as provider
from tests.providers.google import Api, not_found, says_error
from tests.providers.http import Says

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
DRIVE = "https://www.googleapis.com/auth/drive"


class Account(GoogleAccount):
    """An account for tests."""

    oauth: ClassVar[OAuth] = sign_in(DRIVE, api="Google Drive API")


class DriveApi(Api):
    document = "google/drive.v3.json"

    def files_list(self, call):
        return {"files": [{"id": "1", "name": call.account}]}

    def files_create(self, call):
        return {"id": "2", "name": (call.body or {}).get("name"), "size": str(len(call.media or b""))}

    def files_get(self, call):
        if call.params.get("alt") == "media":
            return Says(200, b"content", {"Content-Type": "text/plain"})
        return not_found(f"File not found: {call.params['fileId']}.")

    def files_delete(self, call):
        return None


class SheetsApi(Api):
    document = "google/sheets.v4.json"

    def spreadsheets_get(self, call):
        if call.params["spreadsheetId"] != "abc":
            return not_found()
        return {"spreadsheetId": "abc", "properties": {"title": "Orders"}, "sheets": []}


@pytest.fixture
def google():
    with provider.google_server(DriveApi(), SheetsApi()) as server:
        yield server


@pytest.fixture
def ctx(google):
    guard = AddressGuard(allow_private=True)
    client = HttpClient(guard)
    yield Context(client, guard, NOW, base_url=google.url)
    client.close()


@pytest.fixture
def person(google):
    access, refresh = google.sign_in(DRIVE)
    return Account(
        client_id=provider.CLIENT_ID,
        client_secret=provider.CLIENT_SECRET,
        access_token=access,
        refresh_token=refresh,
        expires_at=NOW + timedelta(hours=1),
        granted=[DRIVE],
    )


def robot(**more):
    return Account(method="service_account", service_account_key=provider.service_account_key(), **more)


def files(ctx, account):
    return rest(ctx, account, "drive", "v3").files()


# the libraries


def test_googleapiclient_speaks_to_the_operators_server(ctx, google, person):
    found = files(ctx, person).list(q="name = 'ä'", pageSize=5).execute()

    assert found == {"files": [{"id": "1", "name": provider.PERSON}]}
    assert google.calls[-1].params["q"] == "name = 'ä'"


def test_an_upload_goes_there_too(ctx, google, person):
    made = (
        files(ctx, person).create(body={"name": "a.bin"}, media_body=upload(b"\0\1" * 500, "a/b")).execute()
    )

    assert made == {"id": "2", "name": "a.bin", "size": "1000"}
    assert google.received[-1].path == "/upload/drive/v3/files"


def test_an_upload_in_pieces_goes_there_too(ctx, google, person):
    media = upload(b"x" * 600_000, "text/plain")
    media._resumable, media._chunksize = True, 256 * 1024

    made = files(ctx, person).create(body={"name": "a.txt"}, media_body=media).execute()

    assert made["size"] == "600000"


def test_content_is_downloaded(ctx, person):
    assert files(ctx, person).get_media(fileId="2").execute() == b"content"


def test_an_answer_without_a_body_is_fine(ctx, person):
    assert files(ctx, person).delete(fileId="2").execute() == ""


def test_gspread_speaks_to_the_operators_server(ctx, google, person):
    book = gspread_client(ctx, person).open_by_key("abc")

    assert book.title == "Orders"
    assert google.calls[-1].account == provider.PERSON


def test_neither_proxies_nor_netrc_are_read(ctx, person, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine sheets.googleapis.com login x password y")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")

    assert gspread_client(ctx, person).open_by_key("abc").title == "Orders"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/upload",
        "http://www.googleapis.com/drive/v3/files",
        "https://www.googleapis.com.evil.example/",
        "https://evilgoogleapis.com/",
        "https://evil.example/www.googleapis.com/",
    ],
)
def test_a_token_goes_to_google_only(ctx, google, person, url):
    request = files(replace(ctx, base_url=None), person).list()
    request.uri = url

    with pytest.raises(RejectedError, match="not its own"):
        request.execute()

    assert google.received == []


# accounts


def test_a_service_account_signs_its_own_statement(ctx, google):
    found = files(ctx, robot()).list().execute()

    assert found["files"][0]["name"] == provider.ROBOT
    assert google.granted == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]


def test_a_service_account_acts_as_a_person_where_an_admin_allowed_it(ctx, google):
    google.delegated.add("bob@example.com")

    assert (
        files(ctx, robot(subject="bob@example.com")).list().execute()["files"][0]["name"] == "bob@example.com"
    )


def test_a_service_account_that_may_not_act_as_a_person_names_the_mend(ctx):
    with pytest.raises(AuthError, match=rf"let an admin allow domain-wide delegation of {DRIVE}"):
        access_token(ctx, robot(subject="bob@example.com"))


def test_a_key_that_google_does_not_know_is_told(ctx):
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = json.loads(provider.service_account_key()) | {"private_key": other.decode()}

    with pytest.raises(AuthError, match=f"does not accept the key of {provider.ROBOT}"):
        access_token(ctx, Account(method="service_account", service_account_key=json.dumps(key)))


def test_a_private_key_that_is_none_is_told(ctx, google):
    key = json.loads(provider.service_account_key()) | {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n"}

    with pytest.raises(AuthError, match="cannot be read"):
        access_token(ctx, Account(method="service_account", service_account_key=json.dumps(key)))

    assert google.received == []


@pytest.mark.parametrize(
    ("typed", "field", "words"),
    [
        ({"method": "oauth"}, "client_id", "is needed"),
        ({"method": "oauth", "client_id": "x"}, "client_secret", "is needed"),
        ({"method": "service_account"}, "service_account_key", "whole content"),
        (
            {"method": "service_account", "service_account_key": "{" * 5000},
            "service_account_key",
            "whole content",
        ),
        ({"method": "service_account", "service_account_key": "[1]"}, "service_account_key", "not the key"),
        (
            {"method": "service_account", "service_account_key": '{"type": "service_account"}'},
            "service_account_key",
            "incomplete",
        ),
        (
            {"client_id": "x", "client_secret": "y", "subject": "a@b.example, c@d.example"},
            "subject",
            "one address",
        ),
    ],
)
def test_what_is_missing_is_said_beside_its_field(typed, field, words):
    with pytest.raises(ValidationError) as refused:
        Account.model_validate(typed)

    assert words in sentences(refused.value)[field]


def test_an_access_that_was_never_kept_is_renewed_for_the_call(ctx, google, person):
    google.expire()
    ended = person.model_copy(update={"expires_at": NOW})

    assert files(ctx, ended).list().execute()["files"]
    assert google.granted == ["refresh_token"]


# what goes wrong


@pytest.mark.parametrize(
    ("says", "error", "words"),
    [
        (says_error(401, "authError"), AuthError, "connect it again"),
        (says_error(403, "insufficientPermissions"), AuthError, DRIVE),
        (
            says_error(403, "accessNotConfigured", "Enable it at https://x."),
            AuthError,
            "Enable it at https://x",
        ),
        (says_error(403, "rateLimitExceeded"), TemporaryError, "quota"),
        (says_error(403, "userRateLimitExceeded"), TemporaryError, "quota"),
        (says_error(429, "RESOURCE_EXHAUSTED"), TemporaryError, "quota"),
        (says_error(500, "backendError"), TemporaryError, "cannot do this now"),
        (Says(503, b"<html>"), TemporaryError, "cannot do this now"),
        (Says(hang_up=True), TemporaryError, "broke off"),
        (says_error(404, "notFound"), RejectedError, "google has no folder Invoices; was it deleted"),
        (says_error(403, "forbidden"), RejectedError, "does not let this account use the folder Invoices"),
        (
            says_error(400, "badRequest", "Invalid Value"),
            RejectedError,
            "the folder Invoices: .*Invalid Value",
        ),
        (Says(400, b"<b>no json</b>"), RejectedError, r"refused this \(400\)"),
        (Says(400, b'{"error": "text"}'), RejectedError, r"refused this \(400\)"),
    ],
)
def test_each_answer_of_google_is_told_apart(ctx, google, person, says, error, words):
    google.fail(says)

    with pytest.raises(error, match=words), google_errors("the folder Invoices"):
        files(ctx, person).list().execute()


def test_gspread_fails_in_the_same_words(ctx, person):
    with (
        pytest.raises(RejectedError, match="google has no spreadsheet gone"),
        google_errors("the spreadsheet gone"),
    ):
        gspread_client(ctx, person).open_by_key("gone")


def test_a_service_account_is_told_whom_to_share_with(ctx):
    with pytest.raises(RejectedError, match=f"share it with {provider.ROBOT}"), google_errors("the file x"):
        files(ctx, robot()).get(fileId="x").execute()


def test_a_quota_tells_how_long_to_wait(ctx, google, person):
    google.fail(says_error(429, "rateLimitExceeded", **{"Retry-After": "12"}))

    with pytest.raises(TemporaryError) as failure:
        files(ctx, person).list().execute()

    assert (failure.value.after, failure.value.sent) == (12, False)


def test_a_scope_that_is_missing_is_named_as_google_names_it(ctx, google):
    access, _ = google.sign_in("openid")
    account = Account(client_id="x", client_secret="y", access_token=access)

    with pytest.raises(AuthError, match=r"auth/drive\b"):
        files(ctx, account).list().execute()


def test_no_secret_is_in_what_is_said(ctx, google, person):
    token = person.access_token.get_secret_value()
    google.fail(says_error(400, "badRequest", f"Bearer {token} {provider.CLIENT_SECRET}\n{'x' * 900}"))

    with pytest.raises(RejectedError) as failure:
        files(ctx, person).list().execute()

    said = str(failure.value)
    assert token not in said
    assert provider.CLIENT_SECRET not in said
    assert "\n" not in said
    assert len(said) < 300


# the stand-in refuses what Google refuses


def asked(ctx, google, **form):
    answer = ctx.http.request("POST", google.url + "/token", form=form)
    return answer.status, answer.json().get("error")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"client_id": "other"}, 401),
        ({"redirect_uri": "http://bitqueue.test/connections/oauth/callback/"}, 400),
        ({"redirect_uri": "http://evil.example/connections/oauth/callback"}, 400),
        ({"code_challenge_method": "plain"}, 400),
        ({"code_challenge": ""}, 400),
        ({"response_type": "token"}, 400),
        ({"state": ""}, 400),
        ({"scope": ""}, 400),
    ],
)
def test_the_stand_in_opens_no_page_for_a_wrong_request(ctx, google, change, status):
    query = {
        "client_id": provider.CLIENT_ID,
        "redirect_uri": google.redirect_urls[0],
        "response_type": "code",
        "scope": DRIVE,
        "state": "s",
        "code_challenge": "c" * 43,
        "code_challenge_method": "S256",
    }

    answer = ctx.http.request(
        "GET", google.url + "/o/oauth2/v2/auth", params=query | change, follow_redirects=False
    )

    assert answer.status == status


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"grant_type": "refresh_token", "refresh_token": "guessed"}, (400, "invalid_grant")),
        ({"grant_type": "authorization_code", "code": "guessed"}, (400, "invalid_grant")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": "refresh_token", "client_secret": "wrong"}, (401, "invalid_client")),
    ],
)
def test_the_stand_in_gives_no_token_for_a_wrong_request(ctx, google, form, expected):
    client = {"client_id": provider.CLIENT_ID, "client_secret": provider.CLIENT_SECRET}

    assert asked(ctx, google, **client | form) == expected


@pytest.mark.parametrize(
    "claims", [{"aud": "https://evil.example"}, {"iss": "x"}, {"exp": 9_999_999_999}, {"scope": ""}]
)
def test_the_stand_in_refuses_a_statement_that_is_not_right(ctx, google, claims):

    now = int(NOW.timestamp())
    right = {"iss": provider.ROBOT, "aud": provider.AUDIENCE, "iat": now, "exp": now + 3600, "scope": DRIVE}
    key = RSAKey.import_key(json.loads(provider.service_account_key())["private_key"])
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

    good = asked(ctx, google, grant_type=grant, assertion=jwt.encode({"alg": "RS256"}, right, key))
    bad = asked(ctx, google, grant_type=grant, assertion=jwt.encode({"alg": "RS256"}, right | claims, key))

    assert (good[0], bad[0]) == (200, 400)


def test_the_stand_in_refuses_a_signature_that_was_altered(ctx, google):
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

    assert asked(ctx, google, grant_type=grant, assertion=f"{head}.e30.") == (400, "invalid_grant")


def test_a_key_is_never_shown():
    account = robot()

    assert "PRIVATE KEY" not in repr(account) + str(account) + account.model_dump_json()
    assert isinstance(account.service_account_key, SecretStr)
