"""A small IMAP4rev1 server (RFC 3501) with folders that remember, log-in, STARTTLS or TLS.

It refuses what a real one refuses: a wrong password, commands out of their state, bad syntax, writing where
a folder was only examined, and log-in without encryption when that is asked for.
"""

import base64
import re
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any

from tests.providers.smtp import _server_tls

USERNAME = "orders@example.com"
PASSWORD = 'correct "horse" \\battery'
BUSY = "TAG NO [UNAVAILABLE] try again later"

_LINE = re.compile(rb"(?P<tag>[A-Za-z0-9]+) (?P<command>[A-Za-z]+)(?: (?P<rest>.*))?\r\n")
_STRING = re.compile(r'"((?:[^"\\\r\n]|\\["\\])*)"|([^\s"(){%*\\]+)')
_ITEMS = re.compile(
    r"UID RFC822\.SIZE INTERNALDATE BODY\.PEEK\[(?P<part>|HEADER\.FIELDS \([A-Z -]+\))\]<0\.(?P<most>\d+)>"
)


@dataclass
class Stored:
    uid: int
    raw: bytes
    received_at: datetime
    flags: set[str] = field(default_factory=set)


@dataclass
class Box:
    """A folder. `renumber` is what a server does that lost its index."""

    uidvalidity: int = 1
    next_uid: int = 1
    messages: list[Stored] = field(default_factory=list)
    read_only: bool = False

    def add(self, raw: bytes, received_at: datetime = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)) -> int:
        self.messages.append(
            Stored(self.next_uid, raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), received_at)
        )
        self.next_uid += 1
        return self.next_uid - 1

    def remove(self, uid: int) -> None:
        self.messages = [each for each in self.messages if each.uid != uid]

    def renumber(self) -> None:
        self.uidvalidity += 1
        for uid, each in enumerate(self.messages, start=1):
            each.uid = uid
        self.next_uid = len(self.messages) + 1


@dataclass
class MailServer:
    """What it holds, what it was asked, and what it is told to answer: `says` maps a command to a whole reply.

    An empty reply hangs up; every answer comes `pause_s` late.
    """

    port: int = 0
    security: str = "none"
    login_only: bool = False
    folders: dict[str, Box] = field(default_factory=lambda: {"INBOX": Box(), "Entw&APw-rfe": Box()})
    says: dict[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    pause_s: float = 0.0

    @property
    def inbox(self) -> Box:
        return self.folders["INBOX"]


@contextmanager
def imap_server(
    *, security: str = "none", login_only: bool = False, says: dict[str, str] | None = None
) -> Iterator[MailServer]:
    """`security` is none, starttls or tls."""
    state = MailServer(security=security, login_only=login_only, says=says or {})
    with _Listener(("127.0.0.1", 0), _Conversation) as listener:
        listener.state = state
        state.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            listener.shutdown()
            thread.join(2)


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    state: MailServer


class _Conversation(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.state: MailServer = self.server.state  # type: ignore[attr-defined]
        self.encrypted = self.signed_in = self.writable = False
        self.box: Box | None = None
        self.request.settimeout(10)
        super().setup()

    def handle(self) -> None:
        with suppress(OSError, ssl.SSLError, ConnectionError):
            if self.state.security == "tls":
                self._encrypt()
            self._say(self.state.says.get("GREETING", "* OK [CAPABILITY IMAP4rev1] ready"))
            while line := self.rfile.readline(70_000):
                if not self._answer(line):
                    return

    def _answer(self, line: bytes) -> bool:
        found = _LINE.fullmatch(line)
        if found is None:
            self._say("* BAD not a command")
            return True
        tag, command = found["tag"].decode(), found["command"].decode().upper()
        rest = (found["rest"] or b"").decode("utf-8", "replace")
        self.state.heard.append(f"{command} {rest}".strip())
        time.sleep(self.state.pause_s)
        told = self.state.says.get(command)
        if told == "":
            return False
        if told is not None:
            self._say(told.replace("TAG", tag))
            return True
        if command == "UID":
            verb, _, rest = rest.partition(" ")
            command = f"UID_{verb.upper()}"
        answer = getattr(self, f"do_{command}", None)
        self._say(f"{tag} {answer(rest) if answer else 'BAD unknown command'}")
        if command == "STARTTLS" and self.encrypted is None:
            self._encrypt()
        return command != "LOGOUT"

    def do_CAPABILITY(self, rest: str) -> str:  # noqa: N802
        plain = self.state.security == "starttls" and not self.encrypted
        more = "STARTTLS LOGINDISABLED" if plain else "" if self.state.login_only else "AUTH=PLAIN"
        self._say(f"* CAPABILITY IMAP4rev1 {more}".strip())
        return "OK done"

    def do_STARTTLS(self, rest: str) -> str:  # noqa: N802
        if self.state.security != "starttls" or self.encrypted:
            return "BAD not offered"
        self.encrypted = None
        return "OK begin"

    def do_LOGIN(self, rest: str) -> str:  # noqa: N802
        words = _strings(rest)
        if words is None or len(words) != 2:
            return "BAD login takes a name and a password"
        return self._sign_in(*words)

    def do_AUTHENTICATE(self, rest: str) -> str:  # noqa: N802
        if rest != "PLAIN" or self.state.login_only:
            return "NO [CANNOT] unknown mechanism"
        self._say("+ ")
        _, user, password = base64.b64decode(self.rfile.readline(70_000)).decode().split("\0")
        return self._sign_in(user, password)

    def _sign_in(self, user: str, password: str) -> str:
        if self.state.security == "starttls" and not self.encrypted:
            return "NO [PRIVACYREQUIRED] encrypt first"
        if self.signed_in:
            return "BAD already signed in"
        if (user, password) != (USERNAME, PASSWORD):
            return "NO [AUTHENTICATIONFAILED] wrong name or password"
        self.signed_in = True
        return "OK welcome"

    def do_LIST(self, rest: str) -> str:  # noqa: N802
        if not self.signed_in:
            return "BAD sign in first"
        for name in self.state.folders:
            self._say(f'* LIST (\\HasNoChildren) "/" "{name}"')
        return "OK done"

    def do_SELECT(self, rest: str) -> str:  # noqa: N802
        return self._open(rest, writable=True)

    def do_EXAMINE(self, rest: str) -> str:  # noqa: N802
        return self._open(rest, writable=False)

    def _open(self, rest: str, *, writable: bool) -> str:
        words = _strings(rest)
        if not self.signed_in or words is None or len(words) != 1:
            return "BAD sign in first, then name one folder"
        self.box = self.state.folders.get(words[0])
        if self.box is None:
            return "NO [NONEXISTENT] no such folder"
        self.writable = writable and not self.box.read_only
        self._say(f"* {len(self.box.messages)} EXISTS")
        self._say("* FLAGS (\\Seen)")
        self._say(f"* OK [UIDVALIDITY {self.box.uidvalidity}] valid")
        self._say(f"* OK [UIDNEXT {self.box.next_uid}] next")
        return f"OK [{'READ-WRITE' if self.writable else 'READ-ONLY'}] done"

    def do_UID_SEARCH(self, rest: str) -> str:  # noqa: N802
        if self.box is None:
            return "BAD select a folder first"
        chosen = _search(self.box, rest)
        if chosen is None:
            return "BAD cannot search that"
        self._say(" ".join(["* SEARCH", *(str(each.uid) for each in chosen)]))
        return "OK done"

    def do_UID_FETCH(self, rest: str) -> str:  # noqa: N802
        wanted, _, items = rest.partition(" ")
        found = _ITEMS.fullmatch(items.removeprefix("(").removesuffix(")"))
        if self.box is None or found is None or not re.fullmatch(r"\d+(,\d+)*", wanted):
            return "BAD cannot fetch that"
        # Nobody asked for this one: a flag that another program changed.
        self._say("* 1 FETCH (FLAGS (\\Recent))")
        for number, each in enumerate(self.box.messages, start=1):
            if str(each.uid) in wanted.split(","):
                self._send(number, each, found["part"], int(found["most"]))
        return "OK done"

    def _send(self, number: int, stored: Stored, part: str, most: int) -> None:
        content = _fields(stored.raw, part) if part else stored.raw
        date = stored.received_at.strftime("%d-%b-%Y %H:%M:%S %z")
        head = f'* {number} FETCH (UID {stored.uid} RFC822.SIZE {len(stored.raw)} INTERNALDATE "{date}" '
        shown = content[:most]
        self.wfile.write(f"{head}BODY[{part}]<0> {{{len(shown)}}}\r\n".encode() + shown + b")\r\n")

    def do_UID_STORE(self, rest: str) -> str:  # noqa: N802
        found = re.fullmatch(r"(\d+) \+FLAGS\.SILENT \(\\Seen\)", rest)
        if self.box is None or found is None:
            return "BAD cannot store that"
        if not self.writable:
            return "NO [CANNOT] read only"
        for each in self.box.messages:
            if each.uid == int(found[1]):
                each.flags.add("\\Seen")
        return "OK done"

    def do_LOGOUT(self, rest: str) -> str:  # noqa: N802
        self._say("* BYE")
        return "OK bye"

    def _encrypt(self) -> None:
        self.request = _server_tls().wrap_socket(self.request, server_side=True)
        super().setup()
        self.encrypted = True

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def finish(self) -> None:
        with suppress(OSError, ssl.SSLError):
            super().finish()
        # The one inside TLS, which the listener does not know.
        self.request.close()


def _strings(text: str) -> list[str] | None:
    """Quoted strings and atoms with single spaces between, or None for anything else."""
    words: list[str] = []
    at = 0
    while at < len(text):
        found = _STRING.match(text, at)
        if found is None or (found.end() < len(text) and text[found.end()] != " "):
            return None
        words.append(found[2] if found[1] is None else re.sub(r"\\(.)", r"\1", found[1]))
        at = found.end() + 1
    return words


def _search(box: Box, rest: str) -> list[Stored] | None:
    everything = list(enumerate(box.messages, start=1))
    if found := re.fullmatch(r"(UID )?(\d+):\*", rest):
        numbers = [each.uid if found[1] else number for number, each in everything]
        # `n:*` means from n to the last, in whichever order: the last one always fits.
        least = min(int(found[2]), max(numbers, default=0))
        return [each for number, (_, each) in zip(numbers, everything, strict=True) if number >= least]
    if found := re.fullmatch(r"SINCE (\d{1,2}-[A-Z][a-z]{2}-\d{4})", rest):
        since = datetime.strptime(f"{found[1]} +0000", "%d-%b-%Y %z").date()
        return [each for _, each in everything if each.received_at.date() >= since]
    return None


def _fields(raw: bytes, part: str) -> bytes:
    names: list[Any] = part.removeprefix("HEADER.FIELDS (").removesuffix(")").split()
    message = message_from_bytes(raw.partition(b"\r\n\r\n")[0])
    lines = [f"{name.title()}: {message[name]}\r\n" for name in names if message[name]]
    return "".join(lines).encode("utf-8", "replace") + b"\r\n"
