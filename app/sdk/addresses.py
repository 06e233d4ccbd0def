"""Which network addresses may be called, and the only way to open a socket to a host that a user typed."""

import ipaddress
import re
import socket
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import idna

from app.sdk.errors import RejectedError, TemporaryError
from app.sdk.lookups import Lookups, Resolver

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]

SMTP_PORTS = frozenset({25, 465, 587, 2525})
IMAP_PORTS = frozenset({143, 993})

# https://fetch.spec.whatwg.org/#port-blocking, and databases that speak in lines
# fmt: off
NEVER_HTTP_PORTS = frozenset({
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3306, 3659, 4045, 4190, 5060, 5061, 5432, 6000, 6379, 6566,
    6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, 11211, 27017,
})
# fmt: on


def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(part) for part in text.split())


# https://www.iana.org/assignments/iana-ipv4-special-registry, with multicast and the former class E
_V4_SPECIAL = _networks(
    """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"""
)
# Global unicast is one block of IPv6; all else (loopback, fc00::/7, fe80::/10, multicast, ::/96) is not.
_V6_GLOBAL = ipaddress.IPv6Network("2000::/3")
_V6_SPECIAL = _networks("2001::/23 2001:db8::/32 3fff::/20")
_PRIVATE = _networks(
    "10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.168.0.0/16 ::1/128 fc00::/7",
)
# Metadata services that live outside link-local: Azure, Alibaba, and AWS, Google and Scaleway over IPv6.
_METADATA = _networks(
    "168.63.129.16/32 100.100.100.200/32 fd00:ec2::254/128 fd20:ce::254/128 fd00:42::42/128"
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
_HOSTNAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$")


def refusal(host: str) -> RejectedError:
    """One sentence for every refusal: it must not tell what stands behind the address."""
    shown = "".join(char for char in host if char.isprintable()).strip()[:100]
    return RejectedError(f"this address is not allowed: {shown}; only public addresses can be called")


def canonical_host(host: str) -> str:
    """The host as the resolver will understand it: ASCII, or an address in its usual notation.

    `127.1`, `0x7f000001`, `2130706433` and `①②⑦.⓪.⓪.①` are addresses to a resolver, so they are here, too.
    Raises RejectedError for what is neither a name nor an address.
    """
    if ":" in host or host.startswith("["):
        return _canonical_v6(host)
    name = host.lower() if host.isascii() else _canonical_unicode(host)
    if _ENDS_IN_NUMBER.search(name):
        return _canonical_v4(name, host)
    if len(name) > 254 or not _HOSTNAME.fullmatch(name):
        raise refusal(host)
    return name


def _canonical_v6(host: str) -> str:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.IPv6Address(bare)
    except ValueError:
        raise refusal(host) from None
    if address.scope_id:
        raise refusal(host)
    return str(address)


def _canonical_v4(name: str, typed: str) -> str:
    try:
        return socket.inet_ntoa(socket.inet_aton(name.removesuffix(".")))
    except OSError:
        raise refusal(typed) from None


def _canonical_unicode(host: str) -> str:
    try:
        mapped = idna.uts46_remap(host, std3_rules=True)
        return mapped if mapped.isascii() else idna.encode(mapped).decode("ascii")
    except UnicodeError:
        raise refusal(host) from None


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Refuses what users must not reach through us.

    `allow_private` admits private ranges and loopback, for an operator who wants that; never link-local,
    never metadata. `blocked` are our own services as (host, port), refused under every name they have.
    """

    allow_private: bool = False
    blocked: tuple[tuple[str, int], ...] = ()
    resolver: Resolver | None = None
    _lookups: Lookups = field(default_factory=Lookups, compare=False, repr=False)

    def resolve(
        self, host: str, port: int, timeout: float = 10.0, *, ports: Container[int] | None = None
    ) -> list[Address]:
        """Every address of `host`, each of them checked; one bad address refuses them all.

        `ports` is what the caller's protocol may use; without it, what HTTP may use.
        Raises RejectedError, or TemporaryError when the name cannot be resolved within `timeout` seconds.
        """
        name = canonical_host(host)
        if not _port_allowed(port, ports):
            raise refusal(host)
        addresses = self._lookup(name, port, host, timeout)
        own = self._blocked_at(port, host, timeout)
        if not all(self._admits(_ip(sockaddr), own) for _, sockaddr in addresses):
            raise refusal(host)
        return addresses

    def connect(
        self, host: str, port: int, timeout: float, *, ports: Container[int] | None = None
    ) -> socket.socket:
        """A connected socket to an address that was checked: the name is not resolved a second time."""
        until = time.monotonic() + timeout
        addresses = self.resolve(host, port, timeout, ports=ports)
        failure: OSError = TimeoutError("timed out")
        for tried, (family, sockaddr) in enumerate(addresses):
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                return _open(family, sockaddr, left / (len(addresses) - tried))
            except OSError as error:
                failure = error
        reason = "timed out" if isinstance(failure, TimeoutError) else failure.strerror or "failed"
        raise TemporaryError(
            f"could not connect to {host} on port {port}: {reason.lower()}", sent=False
        ) from failure

    def _lookup(self, name: str, port: int, typed: str, timeout: float) -> list[Address]:
        literal = _literal(name, port)
        if literal:
            return [literal]
        try:
            found = self._lookups.within(timeout, self.resolver or _system_resolver, name, port)
        except TimeoutError:
            raise TemporaryError(f"the name {typed} could not be resolved in time", sent=False) from None
        except (OSError, UnicodeError):
            raise TemporaryError(f"the name {typed} could not be resolved", sent=False) from None
        if not found:
            raise TemporaryError(f"the name {typed} has no address", sent=False)
        return [(family, sockaddr) for family, _, _, _, sockaddr in found]

    def _blocked_at(self, port: int, typed: str, timeout: float) -> list[IPAddress]:
        hosts = [host or "127.0.0.1" for host, blocked_port in self.blocked if blocked_port == port]
        found = (self._lookup(host.strip("[]"), port, typed, timeout) for host in hosts)
        return [layer for addresses in found for _, sockaddr in addresses for layer in _layers(_ip(sockaddr))]

    def _admits(self, address: IPAddress, own: Sequence[IPAddress]) -> bool:
        return all(self._admits_layer(layer, own) for layer in _layers(address))

    def _admits_layer(self, address: IPAddress, own: Sequence[IPAddress]) -> bool:
        if address in own or (any(map(_is_this_machine, own)) and _is_this_machine(address)):
            return False
        if _in(address, _METADATA):
            return False
        return _is_public(address) or (self.allow_private and _in(address, _PRIVATE))


def _port_allowed(port: int, ports: Container[int] | None) -> bool:
    if not 0 < port < 65536:
        return False
    return port not in NEVER_HTTP_PORTS if ports is None else port in ports


def _layers(address: IPAddress) -> Iterator[IPAddress]:
    """The addresses that a packet to `address` ends at, once every way of wrapping IPv4 is undone."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped or address in _NAT64:
        yield low
    elif address.sixtofour:
        yield address.sixtofour
    elif address.teredo:
        yield from address.teredo
    else:
        yield address
        if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
            yield low


def _is_public(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not _in(address, _V4_SPECIAL)
    return address in _V6_GLOBAL and not _in(address, _V6_SPECIAL)


def _in(address: IPAddress, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(address in network for network in networks)


def _is_this_machine(address: IPAddress) -> bool:
    """Loopback, the unspecified address, or one of our interfaces: only those can be bound."""
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _ip(sockaddr: tuple[Any, ...]) -> IPAddress:
    return ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])


def _literal(name: str, port: int) -> Address | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, (name, port)
    return socket.AF_INET6, (name, port, 0, 0)


def _open(family: socket.AddressFamily, sockaddr: tuple[Any, ...], timeout: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(sockaddr)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _system_resolver(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
