import gzip
import socket
import ssl
import time
import tracemalloc
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.sdk.addresses import AddressGuard
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.http import Answer, HttpClient, mask_headers, parse_retry_after, raise_for_status
from tests.sdk.servers import answer, reset, saying, serving

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def local_names(host, port):
    """Every name is this machine: what a resolver says for `a.example` and `b.example` in these tests."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def http():
    client = HttpClient(AddressGuard(allow_private=True, resolver=local_names))
    yield client
    client.close()


@pytest.fixture
def strict():
    client = HttpClient(AddressGuard(resolver=local_names))
    yield client
    client.close()


HOSTILE_URLS = {
    "redis": "http://127.0.0.1:6379/",
    "our web port": "http://localhost:8000/",
    "loopback v6": "http://[::1]/",
    "unspecified": "http://0.0.0.0/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "mapped metadata": "http://[::ffff:169.254.169.254]/",
    "nat64 metadata": "http://[64:ff9b::a9fe:a9fe]/",
    "decimal": "http://2130706433/",
    "hexadecimal": "http://0x7f000001/",
    "short": "http://127.1/",
    "circled digits": "http://①②⑦.⓪.⓪.①/",
    "carrier-grade nat": "http://100.64.0.1/",
    "user before host": "http://user:pw@127.0.0.1@example.com/",
    "user": "http://user@93.184.216.34/",
    "backslash": "http://example.com\\@127.0.0.1/",
    "ssh": "http://93.184.216.34:22/",
    "line break": "http://example.com/\r\nX-Evil: 1",
    "line break in host": "http://example.com\r\n/",
    "tab": "http://exam\tple.com/",
    "nul": "http://example.com/\x00",
    "surrogate": "http://example.com/\ud800",
    "file": "file:///etc/passwd",
    "gopher": "gopher://127.0.0.1:6379/_INFO",
    "javascript": "javascript:alert(1)",
    "no scheme": "example.com",
    "no host": "http:///path",
    "port out of range": "http://93.184.216.34:99999/",
    "port in other digits": "http://93.184.216.34:８0/",
    "escaped host": "http://%31%32%37.0.0.1/",
    "empty": "",
}


@pytest.mark.parametrize("url", HOSTILE_URLS.values(), ids=HOSTILE_URLS)
def test_a_hostile_url_is_refused_before_a_byte_is_sent(strict, url):
    with pytest.raises(RejectedError) as caught:
        strict.request("GET", url, deadline_s=1)

    assert "pw" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Evil": "1\r\nHost: other"},
        {"X-Evil": "1\n"},
        {"X-Evil": "\x00"},
        {"X-Evil": "\ud800"},
        {"X-Evil\r\nHost": "1"},
        {"X Evil": "1"},
        {"": "1"},
        {"Host": "other.example"},
        {"content-length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "upgrade"},
        {"TE": "trailers"},
        {"Expect": "100-continue"},
    ],
    ids=repr,
)
def test_a_hostile_header_is_refused_before_a_byte_is_sent(http, headers):
    with serving(saying(answer())) as server, pytest.raises(RejectedError, match="header"):
        http.request("GET", server.url, headers=headers)

    assert server.connections == 0


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "GET /x", "G\r\nX", ""])
def test_a_hostile_method_is_refused(http, method):
    with pytest.raises(RejectedError, match="method"):
        http.request(method, "http://a.example/")


def test_a_refused_address_is_never_connected_to(strict):
    with (
        serving(saying(answer())) as server,
        pytest.raises(RejectedError, match=r"this address is not allowed: 127\.0\.0\.1; only public"),
    ):
        strict.request("GET", server.url)

    assert server.connections == 0


def test_our_own_service_is_refused_although_private_addresses_are_allowed():
    with serving(saying(answer())) as server:
        client = HttpClient(AddressGuard(allow_private=True, blocked=(("127.0.0.1", server.port),)))

        with pytest.raises(RejectedError, match="not allowed"):
            client.request("GET", f"http://127.1.2.3:{server.port}/")

        assert server.connections == 0


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_in_the_environment_is_ignored(http, monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:1/")

    with serving(saying(answer(body=b"direct"))) as server:
        assert http.request("GET", server.url).text == "direct"


def test_a_request_arrives_as_it_was_described(http):
    with serving(saying(answer("201 Created", b'{"ok":true}', X_Trace="7"))) as server:
        got = http.request(
            "post",
            f"http://a.example:{server.port}/Grüße?x=1#part",
            params={"y": ["2", "3"], "none": None},
            json={"name": "Ä"},
            headers={"X-Own": "ü", "Content-Type": "application/vnd.own+json"},
        )

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /Gr%C3%BC%C3%9Fe?x=1&y=2&y=3 HTTP/1.1"
    assert f"Host: a.example:{server.port}".encode() in lines
    assert "X-Own: ü".encode() in lines
    assert b"Content-Type: application/vnd.own+json" in lines
    assert body == '{"name":"Ä"}'.encode()
    assert (got.status, got.json(), got.headers["x-trace"]) == (201, {"ok": True}, "7")
    assert got.url.endswith("/Gr%C3%BC%C3%9Fe?x=1&y=2&y=3")
    assert got.elapsed_ms >= 0


def test_a_form_is_sent_as_a_form(http):
    with serving(saying(answer())) as server:
        http.request("POST", server.url, form={"a": "1 2", "b": ["x", "y"]})

    assert b"Content-Type: application/x-www-form-urlencoded" in server.requests[0]
    assert server.requests[0].endswith(b"\r\n\r\na=1+2&b=x&b=y")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}], ids=repr)
def test_a_value_that_json_cannot_carry_is_refused(http, value):
    with pytest.raises(RejectedError, match="the body contains a value"):
        http.request("POST", "http://a.example/", json=value)


def test_a_connection_is_used_again(http):
    with serving(saying(answer(body=b"ok"))) as server:
        for _ in range(5):
            http.request("POST", server.url, content="x")

        assert (server.connections, len(server.requests)) == (1, 5)


def test_a_connection_that_the_server_closed_is_replaced(http):
    def once(connection, request):
        connection.sendall(answer(body=b"ok"))

    with serving(once) as server:
        for _ in range(3):
            http.request("POST", server.url)
            time.sleep(0.02)

        assert server.connections == 3


def test_an_idempotent_request_is_repeated_when_a_used_connection_breaks(http):
    def second_breaks(connection, request):
        if len(server.requests) == 2:
            return reset(connection)
        connection.sendall(answer(body=b"ok"))
        return True

    with serving(second_breaks) as server:
        bodies = [http.request("GET", server.url).text for _ in range(2)]

        assert (bodies, len(server.requests)) == (["ok", "ok"], 3)


def test_a_post_is_not_repeated_when_a_used_connection_breaks(http):
    def second_breaks(connection, request):
        if len(server.requests) == 2:
            return reset(connection)
        connection.sendall(answer(body=b"ok"))
        return True

    with serving(second_breaks) as server:
        http.request("POST", server.url)
        with pytest.raises(TemporaryError) as caught:
            http.request("POST", server.url)

        assert caught.value.sent is True
        assert len(server.requests) == 2


# Redirects


def redirecting(location, status="302 Found"):
    """Sends `/` to `location`, answers every other path."""

    def script(connection, request):
        away = request.split(b" ")[1] == b"/"
        connection.sendall(answer(status, Location=location) if away else answer(body=b"arrived"))
        return True

    return script


REDIRECTS_NOT_FOLLOWED = {
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "redis port": "http://127.0.0.1:6379/",
    "file": "file:///etc/passwd",
    "gopher": "gopher://127.0.0.1:6379/_INFO",
    "user": "http://user:pw@a.example/",
    "backslash": "http://a.example\\@b.example/",
    "unreadable": "http://[",
}


@pytest.mark.parametrize("location", REDIRECTS_NOT_FOLLOWED.values(), ids=REDIRECTS_NOT_FOLLOWED)
def test_a_redirect_to_a_hostile_address_is_refused(http, location):
    with serving(redirecting(location)) as server, pytest.raises(RejectedError):
        http.request("GET", server.url)

    assert len(server.requests) == 1


def test_a_redirect_from_a_public_to_a_private_address_is_refused():
    resolved = []

    def resolver(host, port):
        resolved.append(host)
        return local_names(host, port)

    with serving(redirecting("http://10.0.0.1:8080/")) as server:
        guard = AddressGuard(allow_private=True, blocked=(("10.0.0.1", 8080),), resolver=resolver)
        client = HttpClient(guard)
        with pytest.raises(RejectedError, match=r"not allowed: 10\.0\.0\.1;"):
            client.request("GET", f"http://public.example:{server.port}/")
        client.close()

    assert resolved == ["public.example"]


def test_a_redirect_loop_ends(http):
    with (
        serving(saying(answer("302 Found", Location="/"))) as server,
        pytest.raises(RejectedError, match="redirects more than 3 times"),
    ):
        http.request("GET", server.url)

    assert len(server.requests) == 4


def test_three_redirects_are_followed(http):
    hop = answer("302 Found", Location="/next")
    with serving(saying(hop, hop, hop, answer(body=b"arrived"))) as server:
        got = http.request("GET", server.url)

    assert (got.text, got.url) == ("arrived", f"{server.url}/next")


def test_a_redirect_can_be_left_unfollowed(http):
    with serving(redirecting("/next")) as server:
        assert http.request("GET", server.url, follow_redirects=False).status == 302


CREDENTIALS = {
    "Authorization": "Bearer s3cret",
    "Cookie": "id=s3cret",
    "X-Api-Key": "s3cret",
    "X-Tenant": "s3cret",
}


def test_a_redirect_to_another_host_drops_credentials(http):
    with (
        serving(redirecting("/")) as other,
        serving(redirecting(f"http://b.example:{other.port}/x")) as server,
    ):
        http.request(
            "GET",
            f"http://a.example:{server.port}/",
            headers=CREDENTIALS | {"X-Plain": "1"},
            secret_headers={"x-tenant"},
        )

    assert server.requests[0].count(b"s3cret") == 4
    assert b"s3cret" not in other.requests[0]
    assert b"X-Plain: 1" in other.requests[0]


def test_a_redirect_within_the_host_keeps_credentials(http):
    with serving(redirecting("/next")) as server:
        http.request("GET", server.url, headers=CREDENTIALS)

    assert server.requests[1].count(b"s3cret") == 4


@pytest.mark.parametrize(
    ("status", "method", "arrives_as", "with_body"),
    [
        ("301 Moved", "POST", b"GET", False),
        ("302 Found", "POST", b"GET", False),
        ("302 Found", "PUT", b"PUT", True),
        ("303 See Other", "PUT", b"GET", False),
        ("303 See Other", "HEAD", b"HEAD", False),
        ("307 Temporary", "POST", b"POST", True),
        ("308 Permanent", "POST", b"POST", True),
    ],
)
def test_a_redirect_changes_the_method_as_browsers_do(http, status, method, arrives_as, with_body):
    content = None if method == "HEAD" else "payload"
    with serving(redirecting("/next", status)) as server:
        http.request(method, server.url, content=content, headers={"Content-Type": "text/plain"})

    assert server.requests[1].split(b" ")[0] == arrives_as
    assert (b"payload" in server.requests[1]) is with_body
    if arrives_as == b"GET":
        assert b"content-type" not in server.requests[1].lower()


def test_a_failure_after_a_redirect_still_says_that_something_was_sent(http):
    with (
        serving(redirecting("http://127.0.0.1:1024/", "307 Temporary")) as server,
        pytest.raises(TemporaryError, match="could not connect") as caught,
    ):
        http.request("POST", server.url, content="payload")

    assert caught.value.sent is True


# Size and time


def test_a_gzip_bomb_is_refused_and_memory_stays_flat(http):
    bomb = gzip.compress(bytes(200_000_000), 1)
    with serving(saying(answer(body=bomb, content_encoding="gzip"))) as server:
        tracemalloc.start()
        with pytest.raises(RejectedError, match="larger than 1000000 bytes"):
            http.request("GET", server.url, max_bytes=1_000_000)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert peak_bytes < 4_000_000


def test_a_compressed_stream_that_decodes_to_nothing_is_refused(http):
    def endless(connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"ok"))
        for _ in range(100):
            connection.sendall(bytes(65536))

    with serving(endless) as server, pytest.raises(RejectedError, match="larger than"):
        http.request("GET", server.url, max_bytes=1_000_000)


def test_a_declared_length_over_the_limit_is_refused_before_reading(http):
    with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")) as server:
        began = time.monotonic()
        with pytest.raises(RejectedError, match="larger than"):
            http.request("GET", server.url)

    assert time.monotonic() - began < 1


def test_an_undeclared_length_over_the_limit_is_refused(http):
    with (
        serving(saying(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(300_000))) as server,
        pytest.raises(RejectedError, match="larger than 100000 bytes"),
    ):
        http.request("GET", server.url, max_bytes=100_000)


def test_the_length_that_head_declares_is_not_a_body(http):
    with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")) as server:
        assert http.request("HEAD", server.url).body == b""


def drip(head):
    def script(connection, request):
        connection.sendall(head)
        for _ in range(100):
            connection.sendall(b"a")
            time.sleep(0.05)

    return script


@pytest.mark.parametrize(
    "script",
    [
        drip(b"HTTP/1.1 200 OK\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nX-Endless: "),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n"),
        lambda connection, request: time.sleep(0.7),
        lambda connection, request: [time.sleep(0.03), connection.sendall(answer("302 Found", Location="/"))],
    ],
    ids=["byte by byte", "endless header", "endless chunk", "silence", "slow redirects"],
)
def test_the_deadline_is_total(http, script):
    with serving(script) as server:
        began = time.monotonic()
        with pytest.raises(TemporaryError, match="in time") as caught:
            http.request("GET", server.url, deadline_s=0.1)
        took_s = time.monotonic() - began

    assert caught.value.sent is True
    assert took_s < 0.4


def test_a_name_server_that_hangs_ends_at_the_deadline():
    client = HttpClient(AddressGuard(resolver=lambda host, port: time.sleep(0.6) or []))
    began = time.monotonic()

    with pytest.raises(TemporaryError, match="could not be resolved in time") as caught:
        client.request("GET", "http://slow.example/", deadline_s=0.1)

    assert caught.value.sent is False
    assert time.monotonic() - began < 0.4


@pytest.mark.parametrize(
    "encode",
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
        ("identity", bytes),
        ("unknown", bytes),
    ],
    ids=["gzip", "x-gzip", "deflate", "raw deflate", "identity", "unknown"],
)
def test_a_body_is_decoded(http, encode):
    coding, compress = encode
    with serving(saying(answer(body=compress(b"hello" * 50_000), content_encoding=coding))) as server:
        assert http.request("GET", server.url).body == b"hello" * 50_000


# Faults: what was sent, and what was not


def breaking(head):
    def script(connection, request):
        connection.sendall(head)
        time.sleep(0.02)
        reset(connection)

    return script


SENT_FAULTS = {
    "reset before headers": breaking(b""),
    "reset after the status line": breaking(b"HTTP/1.1 200 OK\r\n"),
    "reset mid-body": breaking(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"),
    "end before headers": lambda connection, request: None,
    "end mid-body": lambda connection, request: connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
    ),
    "no http at all": lambda connection, request: connection.sendall(b"-ERR unknown command\r\n\r\n"),
    "truncated gzip": saying(answer(body=gzip.compress(b"x" * 1000)[:-9], content_encoding="gzip")),
    "damaged gzip": saying(answer(body=b"no gzip at all", content_encoding="gzip")),
}


@pytest.mark.parametrize("script", SENT_FAULTS.values(), ids=SENT_FAULTS)
def test_a_fault_after_sending_says_that_the_request_may_have_arrived(http, script):
    with serving(script) as server, pytest.raises(TemporaryError, match=r"127\.0\.0\.1") as caught:
        http.request("POST", server.url, content="x", deadline_s=2)

    assert caught.value.sent is True


def test_a_refused_connection_says_that_nothing_was_sent(http):
    with pytest.raises(TemporaryError, match=r"could not connect to a\.example on port 1024") as caught:
        http.request("POST", "http://a.example:1024/", content="x")

    assert caught.value.sent is False


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for a.example and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "a.example.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def https(certificate):
    context = ssl.create_default_context(cafile=certificate)
    client = HttpClient(AddressGuard(allow_private=True, resolver=local_names), tls=context)
    yield client
    client.close()


@pytest.fixture
def tls_server(certificate):
    """Wraps the connections of a raw server; what it sends in clear is the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(saying(answer(body=b"sealed"))) as server:
        plain = server.serve

        def serve(connection):
            with suppress(OSError):
                sealed = context.wrap_socket(connection, server_side=True)
                server.open.append(sealed)
                plain(sealed)

        server.serve = serve
        yield server


def test_https_is_called_by_the_name_in_the_certificate(https, tls_server):
    got = [https.request("GET", f"https://a.example:{tls_server.port}/").text for _ in range(3)]

    assert (got, tls_server.connections) == (["sealed"] * 3, 1)


def test_a_certificate_of_another_name_is_not_accepted_and_nothing_is_sent(https, tls_server):
    with pytest.raises(TemporaryError, match=r"the certificate of b\.example was not accepted") as caught:
        https.request("GET", f"https://b.example:{tls_server.port}/")

    assert caught.value.sent is False
    assert tls_server.requests == []


def test_a_handshake_byte_by_byte_ends_at_the_deadline(https):
    def dripping(connection):
        with suppress(OSError), connection:
            connection.sendall(b"\x16\x03\x03\x40\x00")
            for _ in range(100):
                connection.sendall(b"\x02")
                time.sleep(0.05)

    with serving(saying(answer())) as server:
        server.serve = dripping
        began = time.monotonic()
        with pytest.raises(TemporaryError) as caught:
            https.request("GET", f"https://a.example:{server.port}/", deadline_s=0.2)

    assert caught.value.sent is False
    assert time.monotonic() - began < 0.6


def test_a_server_that_speaks_no_tls_is_named(https):
    def plain(connection):
        with suppress(OSError), connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(saying(answer())) as server:
        server.serve = plain
        with pytest.raises(TemporaryError, match=r"could not agree on encryption with a\.example"):
            https.request("GET", f"https://a.example:{server.port}/")


# Answers


def answered(status=200, body=b"", **headers):
    return Answer(
        status, {name.replace("_", "-"): text for name, text in headers.items()}, body, "http://a/?q=1", 1
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[" * 100_000, b"1e999", b"NaN", b"-Infinity", b"9" * 5_000, b'"\xff"'],
    ids=["empty", "html", "nested", "1e999", "nan", "infinity", "long integer", "invalid utf-8"],
)
def test_an_answer_that_is_no_json_is_rejected_in_plain_words(body):
    with pytest.raises(RejectedError, match=r"^the answer of http://a/ is not json$"):
        answered(body=body).json()


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("text/plain", "Ã¤"),
        ("text/plain; charset=iso-8859-1", "Ã\x83Â¤"),
        ("text/plain; charset=zip", "Ã¤"),
        ("text/plain; charset=utf-99", "Ã¤"),
        ("text/plain; charset=punycode", "Ã¤"),
    ],
)
def test_text_follows_the_declared_character_set_when_it_is_one(content_type, text):
    assert answered(body="Ã¤".encode(), content_type=content_type).text == text


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthError), (403, AuthError), (400, RejectedError), (404, RejectedError), (408, TemporaryError),
     (425, TemporaryError), (429, TemporaryError), (500, TemporaryError), (503, TemporaryError)],
)  # fmt: skip
def test_a_status_becomes_an_error(status, error):
    with pytest.raises(error, match=f"^shop .*{status}"):
        raise_for_status(answered(status), service="shop")


@pytest.mark.parametrize("status", [200, 204, 302, 304])
def test_a_good_status_is_no_error(status):
    raise_for_status(answered(status), service="shop")


def test_an_error_repeats_little_of_the_answer_and_no_secret():
    body = b"line\r\n\x1b[31m key=s3cret-value Authorization: Bearer abcdef123456 " + b"x" * 1000

    with pytest.raises(IntegrationError) as caught:
        raise_for_status(answered(400, body), service="shop", secrets=["s3cret-value", ""])

    message = str(caught.value)
    assert "s3cret" not in message
    assert "abcdef123456" not in message
    assert message.isprintable()
    assert len(message) < 260


def test_an_error_page_is_not_repeated():
    with pytest.raises(RejectedError, match=r"^shop rejected the request \(404\)$"):
        raise_for_status(
            answered(404, b"<script>alert(1)</script>", content_type="text/html"), service="shop"
        )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("-5", 0.0),
        ("999999999", 86_400.0),
        ("9" * 5_000, 86_400.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("Fri, 99 Foo 2026 99:99:99", None),
        ("soon", None),
        ("٧", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


def test_retry_after_reaches_the_error():
    with pytest.raises(TemporaryError) as caught:
        raise_for_status(answered(429, retry_after="7"), service="shop")

    assert caught.value.after == 7.0


def test_headers_are_shown_without_secrets():
    shown = mask_headers(
        {"Authorization": "a", "cookie": "b", "X-Api-Key": "c", "X-Auth-Token": "d", "Client-Secret": "e",
         "X-Password": "f", "Accept": "g"}
    )  # fmt: skip

    assert [name for name, text in shown.items() if text != "••••"] == ["Accept"]
