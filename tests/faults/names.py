"""A name server of our own: what it does not know it leaves unanswered, until it is told to answer all."""

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

# A loopback address that no other name server of the machine has; the port of names is always 53.
_ADDRESS = "127.53.{}.{}"
_RESOLV = "nameserver {}\n"
_NSSWITCH = "hosts: files dns\n"


class Names:
    """All that it answers is this machine. `known`: the names that it answers from the start."""

    def __init__(self, home: Path, known: Sequence[str]) -> None:
        self._known, self._answers_all = frozenset(known), False
        # Every name that was asked for, as often as it was asked.
        self.asked: list[str] = []
        self._home = home
        self._socket, self.address = _bound()
        threading.Thread(target=self._serve, daemon=True).start()

    def answer_all(self) -> None:
        self._answers_all = True

    def close(self) -> None:
        self._socket.close()

    def namespace(self) -> list[str]:
        """The words before a command that make it ask this server alone: its mounts are nobody else's."""
        files = {"/etc/resolv.conf": _RESOLV.format(self.address), "/etc/nsswitch.conf": _NSSWITCH}
        mounts = []
        for place, text in files.items():
            mine = self._home / Path(place).name
            mine.write_text(text)
            mounts.append(f"mount --bind {mine} {place}")
        return ["unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh"]

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                wire, asker = self._socket.recvfrom(4096)
                with suppress(dns.exception.DNSException):
                    self._answer(dns.message.from_wire(wire), asker)

    def _answer(self, query: dns.message.Message, asker: tuple[str, int]) -> None:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        self.asked.append(name)
        if not self._answers_all and name not in self._known:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if question.rdtype == dns.rdatatype.A:
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "127.0.0.1"))
        self._socket.sendto(answer.to_wire(), asker)


def _bound() -> tuple[socket.socket, str]:
    for number in range(1, 200):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        address = _ADDRESS.format(number // 100, number % 100)
        try:
            made.bind((address, 53))
        except OSError:
            made.close()
            continue
        return made, address
    raise AssertionError("no loopback address is free for a name server; are you root?")
