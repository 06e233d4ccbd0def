import pytest

from app.engine.masking import DOTS, mask


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "cookie", "Set-Cookie", "password", "PASSWD", "client_secret", "token", "access_token",
        "api_key", "X-Api-Key", "apikey", "signature", "credentials",
    ],
)  # fmt: skip
def test_what_is_named_like_a_secret_is_hidden(name):
    assert mask({name: "s3cret"}) == {name: DOTS}
    assert mask({"headers": [{name: "s3cret"}]}) == {"headers": [{name: DOTS}]}


@pytest.mark.parametrize("name", ["Idempotency-Key", "key", "monkey", "tokens_used", "author", "url"])
def test_what_is_not_is_shown(name):
    assert mask({name: "plain"}) == {name: "plain"}


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_secret_is_shown_as_empty(value):
    assert mask({"password": value}) == {"password": value}


def test_a_list_of_secrets_is_hidden_one_by_one():
    assert mask({"password": ["a", "b"]}) == {"password": [DOTS, DOTS]}


def test_a_secret_in_a_query_is_hidden_and_the_rest_is_kept():
    shown = mask({"url": "https://shop.example/a?api_key=s3cret&page=2#x"})

    assert shown == {"url": f"https://shop.example/a?api_key={DOTS}&page=2#x"}


@pytest.mark.parametrize(
    "url", ["https://shop.example/a?page=2&q=%20", "http://[broken?token=x", "not a url?token=x"]
)
def test_an_address_without_a_secret_is_left_as_it_is(url):
    assert mask({"url": url}) == {"url": url}


@pytest.mark.parametrize("value", [1, True, None, 1.5, "text", [1, {"a": 2}]])
def test_other_values_stay(value):
    assert mask(value) == value
