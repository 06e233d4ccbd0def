"""What a URL and its headers must look like before a byte is sent."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from app.sdk.addresses import canonical_host, refusal
from app.sdk.errors import RejectedError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*):(?P<rest>.*)", re.IGNORECASE)
_REST = re.compile(r"//(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]+)(?::(?P<port>[0-9]{0,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAFE_IN_PATH = "%/:@!$&'()*+,;=~"
_SAFE_IN_QUERY = _SAFE_IN_PATH + "?"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_HEADER_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Framing and routing belong to the connection (RFC 9110 §7.6.1); a user who sets them can smuggle a request.
_OWN_HEADERS = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade",
    "te", "trailer", "expect", "http2-settings",
})  # fmt: skip
_LOOKS_SECRET = re.compile(
    r"authorization|cookie|token|secret|key|passw|signature|credential|session", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Target:
    """An http or https URL in parts; `host` is canonical, `typed_host` is for messages."""

    scheme: str
    host: str
    port: int
    path: str
    typed_host: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(url: str, params: Mapping[str, object] | None = None) -> Target:
    """Raises RejectedError for anything two readers could understand differently."""
    scheme, rest = _split_scheme(url.strip(" "))
    parts = _REST.fullmatch(rest)
    if not parts or not parts["authority"]:
        raise RejectedError("this url has no host; it must look like https://example.com/path")
    typed_host, port = _split_authority(parts["authority"], _DEFAULT_PORTS[scheme])
    query = "&".join(filter(None, [parts["query"] or "", _encode_params(params or {})]))
    path = quote(parts["path"] or "/", safe=_SAFE_IN_PATH)
    if query:
        path += "?" + quote(query, safe=_SAFE_IN_QUERY)
    return Target(scheme, canonical_host(typed_host), port, path, typed_host)


def _split_scheme(url: str) -> tuple[str, str]:
    if _CONTROL.search(url):
        raise RejectedError("this url contains a line break or control character; remove it")
    if "\\" in url:
        raise RejectedError("this url contains a backslash; write it with / only")
    parts = _URL.fullmatch(url)
    scheme = parts["scheme"].lower() if parts else ""
    if not parts or scheme not in _DEFAULT_PORTS:
        raise RejectedError("this url cannot be called; it must begin with http:// or https://")
    return scheme, parts["rest"]


def _split_authority(authority: str, default_port: int) -> tuple[str, int]:
    if "@" in authority:
        raise RejectedError("this url contains a user name before the host; use a header instead")
    parts = _AUTHORITY.fullmatch(authority)
    if not parts:
        raise refusal(authority)
    return parts["host"], int(parts["port"] or default_port)


def _encode_params(params: Mapping[str, object]) -> str:
    try:
        return urlencode({name: value for name, value in params.items() if value is not None}, doseq=True)
    except UnicodeError:
        raise RejectedError("a query parameter contains a character that cannot be sent") from None


def clean_headers(headers: Mapping[str, str]) -> dict[str, tuple[str, bytes]]:
    """Lower-case name → (name as typed, value); raises RejectedError naming the header."""
    return {name.lower(): (name, _clean_header(name, value)) for name, value in headers.items()}


def _clean_header(name: str, value: str) -> bytes:
    shown = "".join(char for char in name if char.isprintable())[:60]
    if not _HEADER_NAME.fullmatch(name):
        raise RejectedError(f"header name {shown!r} contains a character that is not allowed; remove it")
    if name.lower() in _OWN_HEADERS:
        raise RejectedError(f"header {shown!r} is set by the connection itself; remove it")
    if _HEADER_CONTROL.search(value):
        raise RejectedError(f"header {shown!r} contains a line break or control character; remove it")
    try:
        return value.strip(" \t").encode()
    except UnicodeError:
        raise RejectedError(f"header {shown!r} contains a character that cannot be sent") from None


def placed(url: str, base_url: str | None) -> str:
    """The address at the operator's own server, where one stands in for the service."""
    if base_url is None:
        return url
    parts = urlsplit(url)
    return base_url.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")


def looks_secret(header: str) -> bool:
    return _LOOKS_SECRET.search(header) is not None


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as they may be shown and logged."""
    return {name: "••••" if looks_secret(name) else value for name, value in headers.items()}
