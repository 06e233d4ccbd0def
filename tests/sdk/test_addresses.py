import socket
import time

import pytest

from app.sdk.addresses import SMTP_PORTS, AddressGuard, canonical_host
from app.sdk.errors import RejectedError, TemporaryError

PUBLIC = "93.184.216.34"
PUBLIC_V6 = "2606:2800:220:1:248:1893:25c8:1946"


def changing(name, *answers):
    """A resolver whose answer for `name` is another one each time."""
    left = iter(answers)

    def resolver(host, port):
        return names(**{name: next(left)})(host, port)

    return resolver


def names(**addresses):
    """A resolver that knows these names (`_` for a dot) and no others."""
    table = {name.replace("_", "."): found for name, found in addresses.items()}

    def resolver(host, port):
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "name not known")
        return [
            (socket.AF_INET6 if ":" in found else socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port))
            for found in table[host]
        ]

    return resolver


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


NEVER = {
    "link-local metadata": "169.254.169.254",
    "mapped metadata": "[::ffff:169.254.169.254]",
    "nat64 metadata": "[64:ff9b::a9fe:a9fe]",
    "6to4 metadata": "[2002:a9fe:a9fe::1]",
    "teredo metadata": "[2001:0:5db8:d822::5601:5601]",
    "isatap metadata": "[2606:2800::5efe:a9fe:a9fe]",
    "metadata over ipv6": "[fd00:ec2::254]",
    "azure metadata": "168.63.129.16",
    "alibaba metadata": "100.100.100.200",
    "link-local v6": "[fe80::1]",
    "local-use nat64": "[64:ff9b:1::a9fe:a9fe]",
    "v4-compatible": "[::127.0.0.1]",
    "unspecified": "0.0.0.0",
    "unspecified v6": "[::]",
    "multicast": "224.0.0.1",
    "multicast v6": "[ff02::1]",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "documentation": "192.0.2.1",
    "documentation v6": "[2001:db8::1]",
    "benchmarking": "198.18.0.1",
    "site-local": "[fec0::1]",
    "discard": "[100::1]",
}
ONLY_WITH_PERMISSION = {
    "loopback": "127.0.0.1",
    "other loopback": "127.8.9.10",
    "loopback v6": "[::1]",
    "mapped loopback": "[::ffff:127.0.0.1]",
    "decimal": "2130706433",
    "hexadecimal": "0x7f000001",
    "octal": "0177.0.0.1",
    "short": "127.1",
    "circled digits": "①②⑦.⓪.⓪.①",
    "fullwidth": "１２７．０．０．１",
    "ideographic stops": "127。0。0。1",
    "trailing dot": "127.0.0.1.",
    "carrier-grade nat": "100.64.0.1",
    "ten": "10.0.0.1",
    "one seven two": "172.31.255.255",
    "one nine two": "192.168.1.1",
    "unique local": "[fc00::1]",
    "nat64 private": "[64:ff9b::a00:1]",
}


@pytest.mark.parametrize("host", (NEVER | ONLY_WITH_PERMISSION).values(), ids=(NEVER | ONLY_WITH_PERMISSION))
def test_an_address_that_is_not_public_is_refused(host):
    with pytest.raises(
        RejectedError, match=r"^this address is not allowed: .*; only public addresses can be"
    ):
        AddressGuard().resolve(host, 80)


@pytest.mark.parametrize("host", NEVER.values(), ids=NEVER)
def test_permission_for_private_addresses_never_covers(host):
    with pytest.raises(RejectedError, match="only public addresses"):
        AddressGuard(allow_private=True).resolve(host, 80)


@pytest.mark.parametrize("host", ONLY_WITH_PERMISSION.values(), ids=ONLY_WITH_PERMISSION)
def test_permission_for_private_addresses_covers(host):
    addresses = AddressGuard(allow_private=True).resolve(host, 80)

    assert len(addresses) == 1


@pytest.mark.parametrize(
    "host",
    [
        PUBLIC,
        f"[{PUBLIC_V6}]",
        PUBLIC_V6,
        f"[::ffff:{PUBLIC}]",
        "[64:ff9b::5db8:d822]",
        "[2002:5db8:d822::1]",
    ],
)
def test_a_public_address_is_admitted(host):
    assert AddressGuard().resolve(host, 443)


def test_a_name_with_only_public_addresses_is_admitted():
    guard = AddressGuard(resolver=names(example_com=[PUBLIC, PUBLIC_V6]))

    addresses = guard.resolve("Example.COM", 443)

    assert [sockaddr[0] for _, sockaddr in addresses] == [PUBLIC, PUBLIC_V6]


def test_a_name_with_one_public_and_one_private_address_is_refused():
    guard = AddressGuard(resolver=names(mixed_example=[PUBLIC, "10.0.0.1"]))

    with pytest.raises(RejectedError, match=r"mixed\.example"):
        guard.resolve("mixed.example", 80)


def test_the_name_localhost_is_refused():
    with pytest.raises(RejectedError, match="not allowed: localhost"):
        AddressGuard(resolver=names(localhost=["127.0.0.1"])).resolve("localhost", 8000)


def test_a_name_is_resolved_once_and_the_checked_address_is_called(listener):
    resolver = changing("r_example", ["127.0.0.1"], ["169.254.169.254"])
    guard = AddressGuard(allow_private=True, resolver=resolver)

    with guard.connect("r.example", listener.getsockname()[1], 1.0) as connection:
        peer = connection.getpeername()

    assert peer == listener.getsockname()
    with pytest.raises(RejectedError):
        guard.connect("r.example", 80, 1.0)


def test_a_name_that_answers_public_first_and_loopback_next_is_refused_the_second_time():
    guard = AddressGuard(resolver=changing("r_example", [PUBLIC], ["127.0.0.1"]))

    guard.resolve("r.example", 80)

    with pytest.raises(RejectedError, match=r"r\.example"):
        guard.resolve("r.example", 80)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "[::1]", "localhost", "[::ffff:127.0.0.1]", "0x7f000001", "2130706433"]
)
@pytest.mark.parametrize("service", ["127.0.0.1", "localhost", "::1", "", "0.0.0.0"])
def test_our_own_service_is_refused_under_every_name_of_this_machine(host, service):
    resolver = names(localhost=["127.0.0.1", "::1"])
    guard = AddressGuard(allow_private=True, blocked=((service, 8000),), resolver=resolver)

    with pytest.raises(RejectedError, match="only public addresses"):
        guard.resolve(host, 8000)
    assert guard.resolve(host, 8001)


def test_our_own_service_on_another_machine_is_refused_there_only():
    resolver = names(redis_internal=["10.0.0.7"], alias_example=["10.0.0.7"])
    guard = AddressGuard(allow_private=True, blocked=(("redis.internal", 6380),), resolver=resolver)

    for host in ("redis.internal", "alias.example", "10.0.0.7", "[::ffff:10.0.0.7]"):
        with pytest.raises(RejectedError, match="only public addresses"):
            guard.resolve(host, 6380)
    assert guard.resolve("10.0.0.8", 6380)


def test_the_address_of_our_own_interface_counts_as_this_machine():
    own = {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), 80, family=socket.AF_INET)}
    guard = AddressGuard(allow_private=True, blocked=(("127.0.0.1", 8000),))

    for address in own:
        with pytest.raises(RejectedError):
            guard.resolve(address, 8000)


@pytest.mark.parametrize("port", [0, 22, 25, 6379, 5432, 65536, -1])
def test_a_port_that_is_never_http_is_refused(port):
    with pytest.raises(RejectedError, match="not allowed"):
        AddressGuard().resolve(PUBLIC, port)


def test_a_mail_port_is_admitted_for_mail_only():
    guard = AddressGuard()

    assert guard.resolve(PUBLIC, 587, ports=SMTP_PORTS)
    with pytest.raises(RejectedError):
        guard.resolve(PUBLIC, 80, ports=SMTP_PORTS)


@pytest.mark.parametrize(
    "host", ["", "a b", "a\nb", "%31%32%37.0.0.1", "-a.com", "a..b", "x" * 64, "1.2.3.4.5", "0x", "[::1", "[fe80::1%1]",
             "a@b", "a\\b", "256.1.1.1", "xn--\ud800"]
)  # fmt: skip
def test_what_is_neither_a_name_nor_an_address_is_refused(host):
    with pytest.raises(RejectedError):
        canonical_host(host)


def test_an_international_name_is_sent_in_its_ascii_form():
    assert canonical_host("Bücher.example") == "xn--bcher-kva.example"


def test_a_refusal_shows_the_host_as_typed_without_control_characters_and_in_short():
    with pytest.raises(RejectedError) as caught:
        canonical_host("evil\r\n\x1b" + "x" * 500)

    assert str(caught.value) == (
        f"this address is not allowed: evil{'x' * 96}; only public addresses can be called"
    )


def test_an_unknown_name_is_temporary_and_nothing_was_sent():
    with pytest.raises(TemporaryError, match=r"gone\.example could not be resolved") as caught:
        AddressGuard(resolver=names()).resolve("gone.example", 80)

    assert caught.value.sent is False


def test_a_name_server_that_hangs_ends_at_the_timeout():
    guard = AddressGuard(resolver=lambda host, port: time.sleep(0.6) or [])
    began = time.monotonic()

    with pytest.raises(TemporaryError, match="in time") as caught:
        guard.connect("slow.example", 80, 0.1)

    assert caught.value.sent is False
    assert time.monotonic() - began < 0.4


def test_a_refused_connection_is_temporary_and_nothing_was_sent(listener):
    port = listener.getsockname()[1]
    listener.close()

    with pytest.raises(TemporaryError, match=f"could not connect to 127.0.0.1 on port {port}: ") as caught:
        AddressGuard(allow_private=True).connect("127.0.0.1", port, 1.0)

    assert caught.value.sent is False


def test_the_next_address_is_tried_when_the_first_does_not_answer(listener):
    resolver = names(two_example=["127.0.0.1", "::1"])
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as second:
        guard = AddressGuard(allow_private=True, resolver=resolver)
        with guard.connect("two.example", second.getsockname()[1], 2.0) as connection:
            peer = connection.getpeername()

    assert peer[0] == "::1"
