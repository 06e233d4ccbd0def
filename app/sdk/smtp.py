"""SMTP to addresses that were checked: smtplib's client with one deadline, its failures in our vocabulary."""

import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn, cast

from app.sdk.addresses import SMTP_PORTS, AddressGuard
from app.sdk.channels import Channel, Server, Upgrade, open_channel
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.mail import Outgoing

_PORTS: Final = SMTP_PORTS | {1025}

# RFC 4954 §6: authentication required, mechanism too weak, credentials invalid, encryption required.
_AUTH_CODES: Final = frozenset({530, 534, 535, 538})
_GOODBYE_S: Final = 2.0
_MAX_SENTENCE_CHARS: Final = 160


@contextmanager
def session(guard: AddressGuard, server: Server, *, deadline_s: float) -> Iterator["Session"]:
    """Connected, encrypted and signed in. Raises only app.sdk.errors, also for what is done inside."""
    client = Session(guard, server, time.monotonic() + deadline_s)
    try:
        client.open()
        yield client
    except (smtplib.SMTPException, OSError, UnicodeError, ssl.SSLError) as error:
        client.raise_plainly(error)
    finally:
        client.leave()


class Session(smtplib.SMTP):
    """One conversation with a mail server."""

    def __init__(self, guard: AddressGuard, server: Server, until: float) -> None:
        super().__init__(local_hostname=server.greets_as)
        self._guard, self._server, self._until = guard, server, until
        self._upgrade = Upgrade(server.host, server.port, server.accept_self_signed)
        # From here on, silence does not mean that nothing was delivered.
        self.handed_over = False

    def open(self) -> None:
        server = self._server
        code, greeting = self.connect(server.host, server.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, greeting)
        self.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            self.starttls(context=cast("ssl.SSLContext", self._upgrade))
            self.ehlo_or_helo_if_needed()
        if server.username:
            self.login(server.username, server.password)

    def leave(self) -> None:
        """What was accepted stays accepted, however the goodbye goes."""
        with suppress(smtplib.SMTPException, OSError):
            if self.sock is not None:
                cast("Channel", self.sock).until = min(self._until, time.monotonic() + _GOODBYE_S)
                self.quit()
        self.close()

    def data(self, msg: Any) -> tuple[int, bytes]:
        """As smtplib's, for an Outgoing that is never whole in memory."""
        self.handed_over = True
        self.putcmd("data")
        code, said = self.getreply()
        if code != 354:
            raise smtplib.SMTPDataError(code, said)
        for piece in msg:
            self.send(piece)
        self.send(b".\r\n")
        return self.getreply()

    def send_mail(
        self, sender: str, message: Outgoing, recipients: list[str]
    ) -> dict[str, tuple[int, bytes]]:
        """Whom the server refused, with code and words; raises when that is everyone."""
        # smtplib asks a message for its length, which it announces, and hands it on to `data`.
        return self.sendmail(sender, recipients, cast("str", message))

    def sentence(self, said: bytes | str) -> str:
        """What the server said, on one line, cut, without our password."""
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        if self._server.password:
            text = text.replace(self._server.password, "••••")
        text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return text[:_MAX_SENTENCE_CHARS].rstrip(". ")

    def raise_plainly(self, error: Exception) -> NoReturn:
        host = self._server.host
        match error:
            case smtplib.SMTPRecipientsRefused():
                self._raise_for_recipients(error)
            case smtplib.SMTPResponseException():
                raise self._objection(error.smtp_code, self.sentence(error.smtp_error)) from error
            case smtplib.SMTPServerDisconnected() | TimeoutError():
                message = f"{host} broke off or did not answer in time; are port and encryption right"
                raise TemporaryError(message, sent=self.handed_over) from error
            case UnicodeError():
                raise AuthError(f"{host} takes only plain letters in user name and password") from error
            case smtplib.SMTPException():
                raise RejectedError(f"{host} cannot do this: {self.sentence(str(error)).lower()}") from error
        raise TemporaryError(f"the connection to {host} failed", sent=self.handed_over) from error

    def _raise_for_recipients(self, error: smtplib.SMTPRecipientsRefused) -> NoReturn:
        codes = [code for code, _ in error.recipients.values()]
        name, (_, said) = next(iter(error.recipients.items()))
        more = f" and {len(codes) - 1} more" if len(codes) > 1 else ""
        # The least code: while one of them may still get it, it is worth another try.
        raise self._objection(min(codes), f"{name}{more}: {self.sentence(said)}") from error

    def _objection(self, code: int, said: str) -> IntegrationError:
        host = self._server.host
        if code in _AUTH_CODES:
            return AuthError(f"{host} refused the log-in ({code} {said}); check user name and password")
        if 400 <= code < 500:
            return TemporaryError(f"{host} cannot take this now ({code} {said})", sent=False)
        if code < 0:
            return RejectedError(
                f"{host} does not speak smtp on port {self._server.port}; check host and port"
            )
        return RejectedError(f"{host} refused this mail ({code} {said})")

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        channel = open_channel(self._guard, self._upgrade, ports=_PORTS, until=self._until)
        if self._server.security == "tls":
            channel = self._upgrade.wrap_socket(channel)
        return cast("socket.socket", channel)
