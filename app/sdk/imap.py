"""IMAP to addresses that were checked: imaplib's client with one deadline, its failures in our vocabulary."""

import base64
import imaplib
import re
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn, cast

from app.sdk.addresses import IMAP_PORTS, AddressGuard
from app.sdk.channels import Channel, Server, Upgrade, open_channel
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError

# A literal is read into memory; mail servers refuse mails that are much larger.
MAX_LITERAL_BYTES: Final = 45 * 1024 * 1024
_GOODBYE_S: Final = 2.0
_MAX_SENTENCE_CHARS: Final = 160
_NAMED_FOLDERS: Final = 12
# RFC 5530: what will pass by itself.
_PASSING: Final = re.compile(r"\[(UNAVAILABLE|INUSE|LIMIT|SERVERBUG)\b", re.IGNORECASE)
_GROUP: Final = re.compile(rb"\d+ \(")
_FOLDER: Final = re.compile(rb'\([^)]*\) (?:"(?:[^"\\]|\\.)*"|NIL) (?P<name>.+)')


@dataclass(frozen=True, slots=True)
class Folder:
    """What is true of an opened folder: its messages' UIDs mean something only together with `uidvalidity`."""

    name: str
    uidvalidity: int
    next_uid: int
    messages: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was asked of one message."""

    uid: int
    size_bytes: int
    received_at: datetime | None
    content: bytes


@contextmanager
def session(guard: AddressGuard, server: Server, *, deadline_s: float) -> Iterator["Session"]:
    """Connected, encrypted and signed in. Raises only app.sdk.errors, also for what is done inside."""
    client = Session(guard, server, time.monotonic() + deadline_s)
    try:
        client.begin()
        yield client
    except (imaplib.IMAP4.error, OSError, UnicodeError, ssl.SSLError) as error:
        client.raise_plainly(error)
    finally:
        client.leave()


class Session(imaplib.IMAP4):
    """One conversation with a mail server."""

    sock: Any = None
    file: Any = None

    def __init__(self, guard: AddressGuard, server: Server, until: float) -> None:
        self._guard, self._server, self._until = guard, server, until
        self._upgrade = Upgrade(server.host, server.port, server.accept_self_signed)
        self._ready = False

    def begin(self) -> None:
        # imaplib's own __init__ connects.
        super().__init__(self._server.host, self._server.port)
        self._ready = True
        if self._server.security == "starttls":
            if "STARTTLS" not in self.capabilities:
                raise RejectedError(f"{self._server.host} offers no starttls; choose tls and its port")
            self.starttls(cast("ssl.SSLContext", self._upgrade))
        self._sign_in()

    def open_folder(self, name: str, *, writable: bool) -> Folder:
        """Raises RejectedError, naming those that are there, when there is none of that name."""
        try:
            answer, _ = self.select(_quoted(name), readonly=not writable)
        except self.readonly as error:
            raise RejectedError(f"the folder {name} may only be read; leave its mails unread") from error
        if answer != "OK":
            there = ", ".join(self._folders()) or "none"
            raise RejectedError(f"there is no folder {name[:60]} at {self._server.host}; it has {there}")
        return Folder(name, self._number("UIDVALIDITY"), self._number("UIDNEXT"), self._number("EXISTS"))

    def find(self, *criteria: str) -> list[int]:
        """The UIDs of the messages that fit, ascending."""
        _, found = self._asked("SEARCH", *criteria)
        return sorted({int(uid) for line in found if line for uid in line.split() if uid.isdigit()})

    def look(self, uids: Sequence[int], part: str) -> list[Fetched]:
        """`part` of each message (`HEADER`, or "" for all of it), never marking it as read."""
        if not uids:
            return []
        wanted = ",".join(map(str, uids))
        _, found = self._asked(
            "FETCH", wanted, f"(UID RFC822.SIZE INTERNALDATE BODY.PEEK[{part}]{_PEEK_ALL})"
        )
        return [each for each in map(_fetched, _groups(found)) if each is not None and each.uid in set(uids)]

    def mark_read(self, uid: int) -> None:
        self._asked("STORE", str(uid), "+FLAGS.SILENT", r"(\Seen)")

    def leave(self) -> None:
        if self.sock is None:
            return
        with suppress(imaplib.IMAP4.error, OSError):
            cast("Channel", self.sock).until = min(self._until, time.monotonic() + _GOODBYE_S)
            self.logout()
        with suppress(OSError):
            self.shutdown()

    def raise_plainly(self, error: Exception) -> NoReturn:
        host, port = self._server.host, self._server.port
        said = self._sentence(error)
        if not self._ready and isinstance(error, imaplib.IMAP4.error) and "EOF" not in said:
            if "BYE" in said:
                raise TemporaryError(f"{host} takes no connections now ({said})", sent=False) from error
            raise RejectedError(
                f"{host} does not speak imap on port {port}; check port and encryption"
            ) from error
        if isinstance(error, imaplib.IMAP4.abort | OSError):
            raise TemporaryError(
                f"{host} broke off or did not answer in time; are port and encryption right", sent=False
            ) from error
        raise RejectedError(f"{host} refused this: {said}") from error

    def read(self, size: int) -> bytes:
        if size > MAX_LITERAL_BYTES:
            raise self.abort(f"a literal of {size} bytes")
        return super().read(size)

    def _sign_in(self) -> None:
        user, password = self._server.username, self._server.password
        try:
            if "AUTH=PLAIN" in self.capabilities:
                self.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
            elif "LOGINDISABLED" in self.capabilities:
                raise RejectedError(f"{self._server.host} takes no password here; choose another encryption")
            else:
                self.login(_quoted(user), password)
        except self.abort:
            raise
        except imaplib.IMAP4.error as error:
            raise self._log_in_refused(error) from error
        except UnicodeError as error:
            raise AuthError(
                f"{self._server.host} takes only plain letters in user name and password"
            ) from error

    def _log_in_refused(self, error: Exception) -> IntegrationError:
        said = self._sentence(error)
        if _PASSING.search(said):
            return TemporaryError(f"{self._server.host} cannot sign in now ({said})", sent=False)
        return AuthError(f"{self._server.host} refused the log-in ({said}); check user name and password")

    def _sentence(self, error: Exception) -> str:
        """What the server said, on one line, cut, without our password."""
        said = error.args[0] if error.args else ""
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        text = text.replace(self._server.password or "\0", "••••")
        text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return text[:_MAX_SENTENCE_CHARS].rstrip(". ")

    def _asked(self, command: str, *arguments: str) -> tuple[str, list[Any]]:
        answer, found = self.uid(command, *arguments)
        if answer != "OK":
            raise self.error(found[-1] if found else command)
        return answer, found

    def _number(self, name: str) -> int:
        _, found = self.response(name)
        value = found[-1] if found else None
        return int(value) if isinstance(value, bytes) and value.isdigit() else 0

    def _folders(self) -> list[str]:
        _, lines = self.list()
        found = (_FOLDER.match(line) for line in lines if isinstance(line, bytes))
        names = (match["name"].strip(b'"').decode("utf-8", "replace") for match in found if match)
        return [_from_utf7(name) for name in names][:_NAMED_FOLDERS]

    def _create_socket(self, timeout: float | None) -> socket.socket:
        channel = open_channel(self._guard, self._upgrade, ports=IMAP_PORTS, until=self._until)
        if self._server.security == "tls":
            channel = self._upgrade.wrap_socket(channel)
        return cast("socket.socket", channel)


# The first bytes are all: so a mail that is larger than a literal may be is cut, not refused.
_PEEK_ALL: Final = f"<0.{MAX_LITERAL_BYTES - 1}>"


def _groups(found: Sequence[Any]) -> Iterator[tuple[bytes, bytes]]:
    """imaplib's flat list as (attributes, literal) of each message, also of those that nobody asked about."""
    words, literal = b"", b""
    for item in found:
        said = item[0] if isinstance(item, tuple) else item or b""
        if words and _GROUP.match(said):
            yield words, literal
            words, literal = b"", b""
        words += said
        literal = item[1] if isinstance(item, tuple) else literal
    if words:
        yield words, literal


def _fetched(group: tuple[bytes, bytes]) -> Fetched | None:
    words, literal = group
    uid, size = re.search(rb"\bUID (\d+)", words), re.search(rb"RFC822\.SIZE (\d+)", words)
    date = re.search(rb'INTERNALDATE "([^"]+)"', words)
    if uid is None:
        return None
    return Fetched(int(uid[1]), int(size[1]) if size else 0, _instant(date[1]) if date else None, literal)


def _instant(text: bytes) -> datetime | None:
    try:
        return datetime.strptime(text.decode("ascii").strip(), "%d-%b-%Y %H:%M:%S %z")
    except ValueError:
        return None


def _quoted(name: str) -> str:
    """A string of RFC 9051, in the modified UTF-7 of RFC 3501 §5.1.3 where it is not ASCII."""
    if not name.isprintable():
        raise RejectedError("a name with a line break or control character is none; remove it")
    return '"' + _to_utf7(name).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _to_utf7(name: str) -> str:
    def encode(found: re.Match[str]) -> str:
        if found[0] == "&":
            return "&-"
        coded = base64.b64encode(found[0].encode("utf-16-be", "surrogatepass")).decode()
        return f"&{coded.rstrip('=').replace('/', ',')}-"

    return re.sub(r"&|[^ -~]+", encode, name)


def _from_utf7(name: str) -> str:
    def decode(found: re.Match[str]) -> str:
        coded = found[1].replace(",", "/")
        if not coded:
            return "&"
        padded = coded + "=" * (-len(coded) % 4)
        return base64.b64decode(padded).decode("utf-16-be", "replace")

    return re.sub(r"&([A-Za-z0-9+,]*)-", decode, name)
