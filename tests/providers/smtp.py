"""A real SMTP server (aiosmtpd) with log-in, STARTTLS or TLS, and a certificate of its own."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

USERNAME = "orders@example.com"
PASSWORD = "correct horse battery"
BUSY = "451 4.7.1 try again later"


@dataclass
class Mailbox:
    """What the server took. `rcpt` answers a recipient, `data` a message; an empty text hangs up.

    `mail` answers a sender, such as BUSY, after `pause_s`.
    """

    port: int = 0
    envelopes: list[Envelope] = field(default_factory=list)
    rcpt: dict[str, str] = field(default_factory=dict)
    mail: str = ""
    data: str | None = None
    log_in: bool = False
    log_ins: int = 0
    pause_s: float = 0.0

    @property
    def messages(self) -> list[EmailMessage]:
        return [message_from_bytes(envelope.content, policy=default) for envelope in self.envelopes]

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        await asyncio.sleep(self.pause_s)
        if self.log_in and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return self.mail or "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.rcpt:
            return self.rcpt[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data == "":
            server.transport.abort()
            return "421 gone"
        if self.data is None:
            self.envelopes.append(envelope)
        return self.data or "250 OK: queued"

    def authenticate(
        self, server: Any, session: Session, envelope: Envelope, how: str, proof: Any
    ) -> AuthResult:
        self.log_ins += 1
        known = LoginPassword(USERNAME.encode(), PASSWORD.encode())
        return AuthResult(success=proof == known, handled=False)


@contextmanager
def smtp_server(*, security: str = "none", log_in: bool = True) -> Iterator[Mailbox]:
    """`security` is none, starttls or tls."""
    mailbox = Mailbox(port=_free_port())
    options: dict[str, Any] = {"ssl_context": _server_tls()} if security == "tls" else {}
    if security == "starttls":
        options |= {"tls_context": _server_tls(), "require_starttls": True}
    if log_in:
        mailbox.log_in = True
        options |= {"authenticator": mailbox.authenticate, "auth_require_tls": False}
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=mailbox.port,
        server_hostname="mail.example.com",
        ready_timeout=10,
        **options,
    )
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "server.pem"
        file.write_bytes(self_signed())
        context.load_cert_chain(file)
    return context


@cache
def self_signed() -> bytes:
    """Key and certificate for 127.0.0.1 and localhost, in one PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=30))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(pem)
