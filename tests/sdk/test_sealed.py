import pytest

from app.sdk.errors import RejectedError
from app.sdk.sealed import authorities, mask, require_named_host, spellings


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://api.example.com/v1?a=b", "api.example.com"),
        ("https://API.example.com:443/", "other.example, api.EXAMPLE.com"),
        ("http://127.0.0.1:8080/", "2130706433:8080"),
        ("https://[2001:db8::1]/", "[2001:DB8:0::1]"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
    ],
)
def test_a_named_host_is_known_under_every_spelling(url, hosts):
    require_named_host(url, hosts)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://api.example.com.evil.example/",
        "https://evil.example/api.example.com",
        "https://api.example.com:8443/",
        "https://sub.api.example.com/",
        "https://api.example.com@evil.example/",
        "https://evil.example\\@api.example.com/",
    ],
)
def test_any_other_host_is_refused(url):
    with pytest.raises(RejectedError):
        require_named_host(url, "api.example.com")


@pytest.mark.parametrize("hosts", ["", ",", "https://api.example.com", "*", "a b", "user@host"])
def test_what_is_no_host_is_none(hosts):
    assert authorities(hosts) == [None]


def test_a_secret_is_hidden_in_every_spelling():
    secret = 'a"b/c+ü'
    echoed = 'as is a"b/c+ü, in json a\\"b/c+\\u00fc, in a url a%22b%2Fc%2B%C3%BC'

    assert mask(echoed, spellings(secret)) == "as is ••••, in json ••••, in a url ••••"
