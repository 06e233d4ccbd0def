"""OAuth 2.0 by itself: what is asked, what is believed, what is said when it fails."""

import json
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from pydantic import SecretStr

from app.sdk import oauth
from app.sdk.addresses import AddressGuard
from app.sdk.declare import Context
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.fields import Text, secret_names, setting
from app.sdk.http import HttpClient
from app.sdk.oauth import OAuth, OAuthAccount
from tests.providers.http import Says, http_server, says_json

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
REDIRECT = "https://bq.example/connections/oauth/callback"
SECRET = "the secret of the client & more"


class Account(OAuthAccount):
    """An account at a service for tests."""

    oauth: ClassVar[OAuth] = OAuth(
        service="Books",
        authorize_url="https://books.example/authorize?tenant=1",
        token_url="https://books.example/v2/token",
        scopes=("read", "write"),
        extra={"audience": "api"},
    )
    client_id: Text = setting("Client ID")

    def client_credentials(self):
        return self.client_id, SECRET


@pytest.fixture
def server():
    with http_server(lambda request: says_json(tokens())) as stand_in:
        yield stand_in


@pytest.fixture
def ctx(server):
    guard = AddressGuard(allow_private=True)
    client = HttpClient(guard)
    yield Context(client, guard, NOW, base_url=server.url + "/")
    client.close()


def tokens(**more):
    return {
        "access_token": "at-1",
        "refresh_token": "rt-1",
        "expires_in": 3600,
        "token_type": "Bearer",
    } | more


def account(**more):
    return Account(**{"client_id": "shop"} | more)


def exchange(ctx, **more):
    return oauth.exchange(ctx, account(**more), code="c0de", verifier="v" * 64, redirect_url=REDIRECT)


def sent(server):
    return dict(parse_qsl(server.received[-1].body.decode()))


def test_the_way_there_names_state_challenge_scopes_and_where_to_come_back():
    begun = oauth.begin(account(), redirect_url=REDIRECT, base_url=None)

    address = urlsplit(begun.url)
    query = {name: value for name, [value] in parse_qs(address.query).items()}
    assert (address.scheme, address.netloc, address.path) == ("https", "books.example", "/authorize")
    assert query.pop("code_challenge") not in begun.verifier
    assert query == {
        "tenant": "1",
        "response_type": "code",
        "client_id": "shop",
        "redirect_uri": REDIRECT,
        "scope": "read write",
        "state": begun.state,
        "code_challenge_method": "S256",
        "audience": "api",
    }


def test_no_two_sign_ins_are_alike():
    begun = [oauth.begin(account(), redirect_url=REDIRECT, base_url=None) for _ in range(20)]

    assert len({one.state for one in begun}) == len({one.verifier for one in begun}) == 20
    assert all(43 <= len(one.verifier) <= 128 for one in begun)
    assert begun[0].verifier not in repr(begun[0])


def test_a_code_buys_tokens(ctx, server):
    signed_in = exchange(ctx)

    assert server.received[-1].path == "/v2/token"
    assert sent(server) == {
        "grant_type": "authorization_code",
        "code": "c0de",
        "code_verifier": "v" * 64,
        "redirect_uri": REDIRECT,
        "client_id": "shop",
        "client_secret": SECRET,
    }
    assert signed_in.access_token.get_secret_value() == "at-1"
    assert (signed_in.expires_at, signed_in.granted) == (NOW + timedelta(hours=1), ["read", "write"])


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (tokens(scope="read"), AuthError, "books was not allowed to give write"),
        (tokens(refresh_token=None), AuthError, "gave no refresh token"),
        (tokens(access_token=None), TemporaryError, "no access token"),
        (tokens(access_token=["x"]), TemporaryError, "no access token"),
        ([1], TemporaryError, "cannot be read"),
        ({"error": "invalid_grant"}, AuthError, "books ended this access"),
    ],
)
def test_what_is_no_whole_answer_is_told(ctx, server, answer, error, words):
    server.answer = lambda request: says_json(answer)

    with pytest.raises(error, match=words):
        exchange(ctx)


@pytest.mark.parametrize("expires_in", ["3600", 3600, 3600.0])
def test_an_end_is_read_however_it_is_written(ctx, server, expires_in):
    server.answer = lambda request: says_json(tokens(expires_in=expires_in))

    assert exchange(ctx).expires_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize("expires_in", [None, "soon", 1e30, [3600]])
def test_an_end_that_cannot_be_read_is_none(ctx, server, expires_in):
    server.answer = lambda request: says_json(tokens(expires_in=expires_in))

    assert exchange(ctx).expires_at is None


def test_a_refresh_token_that_is_not_sent_anew_stays(ctx, server):
    server.answer = lambda request: says_json({"access_token": "at-2", "expires_in": 60})

    renewed = account(refresh_token="rt-0", granted=["read", "write"]).renewed(ctx)

    assert renewed.refresh_token.get_secret_value() == "rt-0"
    assert renewed.access_token.get_secret_value() == "at-2"
    assert sent(server)["refresh_token"] == "rt-0"


def test_a_refresh_token_that_is_rotated_is_taken_over(ctx):
    assert account(refresh_token="rt-0").renewed(ctx).refresh_token.get_secret_value() == "rt-1"


def test_who_never_signed_in_is_asked_to(ctx, server):
    with pytest.raises(AuthError, match="nobody has signed in to books yet"):
        account().renewed(ctx)

    assert server.received == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("invalid_client", "client id or client secret"),
        ("unauthorized_client", "client id or client secret"),
        ("redirect_uri_mismatch", "redirect address"),
        ("invalid_grant", "connect it again"),
        ("<script>", r"\(script\)"),
        ("", "no reason given"),
    ],
)
def test_each_refusal_names_its_mend_and_nothing_of_the_strangers(ctx, server, code, words):
    body = {"error": code or "\u2603", "error_description": f"secret {SECRET}"}
    server.answer = lambda request: says_json(body, 400)

    with pytest.raises(AuthError, match=words) as failure:
        account(refresh_token="rt-0").renewed(ctx)

    assert SECRET not in str(failure.value)


@pytest.mark.parametrize(
    "says", [Says(500), Says(502, b"<html>"), Says(429, headers={"Retry-After": "5"}), Says(hang_up=True)]
)
def test_a_service_that_is_away_is_asked_again_and_nothing_was_sent(ctx, server, says):
    server.answer = lambda request: says

    with pytest.raises(TemporaryError) as failure:
        account(refresh_token="rt-0").renewed(ctx)

    assert failure.value.sent is False


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
def test_a_service_that_says_it_is_away_is_believed(ctx, server, error):
    server.answer = lambda request: says_json({"error": error}, 400)

    with pytest.raises(TemporaryError):
        account(refresh_token="rt-0").renewed(ctx)


def test_a_redirect_does_not_take_the_secret_elsewhere(ctx, server):
    with http_server() as elsewhere:
        server.answer = lambda request: Says(307, headers={"Location": elsewhere.url})

        with pytest.raises(TemporaryError):
            account(refresh_token="rt-0").renewed(ctx)

        assert elsewhere.received == []


def test_a_token_address_of_the_inside_is_refused():
    guard = AddressGuard()
    client = HttpClient(guard)

    for url in ("http://127.0.0.1:6379", "http://169.254.169.254", "http://[::ffff:169.254.169.254]"):
        with pytest.raises(RejectedError, match="not allowed"):
            account(refresh_token="rt-0").renewed(Context(client, guard, NOW, base_url=url))

    client.close()


@pytest.mark.parametrize(
    ("given", "due"),
    [
        ({}, True),
        ({"access_token": "a"}, False),
        ({"access_token": "a", "refresh_token": "r"}, True),
        ({"access_token": "a", "expires_at": NOW + timedelta(minutes=6)}, False),
        ({"access_token": "a", "expires_at": NOW + timedelta(minutes=5)}, True),
        ({"access_token": "a", "expires_at": NOW - timedelta(days=1)}, True),
    ],
)
def test_an_access_is_due_before_it_ends(given, due):
    assert account(**given).is_due(NOW) is due


def test_tokens_are_secret_and_can_be_taken_off():
    signed_in = account(access_token="at-1", refresh_token="rt-1", expires_at=NOW, granted=["read"])

    assert {"access_token", "refresh_token"} <= secret_names(Account)
    assert "at-1" not in repr(signed_in) + signed_in.model_dump_json()
    assert signed_in.without_tokens() == account()
    assert signed_in.access_token == SecretStr("at-1")
    assert json.loads(signed_in.model_dump_json())["client_id"] == "shop"
