"""Child processes: started, relayed, started again when they die, stopped in order."""

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
LATER_S = 10.0  # how long a `later` command waits for the word
STEADY_S = 30.0  # a child that lived this long starts again without having to wait

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run under which name.

    `foundation` is what the others stand on: it stops after them. `later` leaves the processor to the others
    until they are ready.
    """

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    foundation: bool = False
    later: bool = False


def tie_to(parent: int) -> Callable[[], None]:
    """For `preexec_fn`: Linux kills the process when its parent dies, even by `kill -9`."""

    def tie() -> None:
        if hasattr(_LIBC, "prctl"):
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return tie


class Child:
    """One command: its process while there is one, and when to start the next."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.due_at_s = 0.0
        self._started_at_s = 0.0
        self._delay_s = FIRST_DELAY_S

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> IO[bytes]:
        """Start it and give its output. The caller's thread must outlive it: Linux ties a child to the thread."""
        self._started_at_s = time.monotonic()
        self.process = subprocess.Popen(
            self.command.argv,
            env={**os.environ, **self.command.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self.command.pass_fds,
            # A group of its own: a terminal's Ctrl-C reaches the supervisor alone, which stops the rest in order.
            start_new_session=True,
            preexec_fn=tie_to(os.getpid()),
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        return self.process.stdout

    def retire(self) -> tuple[int, float]:
        """Forget the dead process; give its exit code and the seconds until the next start."""
        assert self.process is not None
        code = self.process.wait()
        self.process = None
        now = time.monotonic()
        if now - self._started_at_s >= STEADY_S:
            self._delay_s = FIRST_DELAY_S
        delay_s = self._delay_s
        self.due_at_s = now + delay_s
        self._delay_s = min(delay_s * 2, LONGEST_DELAY_S)
        return code, delay_s

    def send(self, number: signal.Signals) -> None:
        """Signal the process; a kill takes what it started along."""
        if self.process is None or not self.alive:
            return
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)


class Supervisor:
    """Runs commands until told to stop. `on_stop` is called first when it stops."""

    def __init__(
        self,
        commands: Sequence[Command],
        *,
        on_stop: Callable[[], None] = lambda: None,
        grace_s: float = 15.0,
        out: IO[str] | None = None,
    ) -> None:
        self._children = [Child(command) for command in commands]
        self._on_stop = on_stop
        self._grace_s = grace_s
        self._out = out or sys.stdout
        self._width = max(len(command.name) for command in commands)
        self._selector = selectors.DefaultSelector()
        self._partial: dict[IO[bytes], bytes] = {}
        self._stops_asked = 0

    def run(self) -> None:
        """Start all, keep all, and return when a signal has stopped all."""
        with self._woken_by_signals():
            for child in self._held():
                child.due_at_s = time.monotonic() + LATER_S
            while not self._stops_asked:
                self._start_due()
                self._pump(self._idle_s())
                self._retire_dead()
            self._on_stop()
            self._stop([child for child in self._children if not child.command.foundation])
            self._stop([child for child in self._children if child.command.foundation])

    def start_later_ones(self) -> None:
        """The others are ready. May be called from another thread."""
        for child in self._held():
            child.due_at_s = 0.0

    def say(self, text: str, *, name: str = "") -> None:
        """Print one line. A reader that went away is no reason to stop serving."""
        with contextlib.suppress(OSError, ValueError):
            print(f"{name:<{self._width}} | {text}" if name else text, file=self._out, flush=True)

    @contextlib.contextmanager
    def _woken_by_signals(self) -> Iterator[None]:
        reading, writing = socket.socketpair()
        reading.setblocking(False)
        writing.setblocking(False)
        self._selector.register(reading, selectors.EVENT_READ)
        before = {number: signal.signal(number, self._ask_to_stop) for number in _stopping()}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.unregister(reading)
            reading.close()
            writing.close()

    def _ask_to_stop(self, *_signal: object) -> None:
        self._stops_asked += 1

    def _held(self) -> list[Child]:
        return [child for child in self._children if child.command.later and child.process is None]

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and child.due_at_s <= time.monotonic():
                self._start(child)

    def _start(self, child: Child) -> None:
        try:
            output = child.start()
        except OSError as error:
            self.say(f"{child.command.argv[0]} cannot be started: {error.strerror}", name=child.command.name)
            child.due_at_s = time.monotonic() + LONGEST_DELAY_S
            return
        self._selector.register(output, selectors.EVENT_READ, child.command.name)

    def _retire_dead(self) -> None:
        for child in self._children:
            if child.process is not None and not child.alive:
                code, delay_s = child.retire()
                self.say(f"{_ending(code)}; starting again in {delay_s:.1f} s", name=child.command.name)

    def _idle_s(self) -> float:
        waiting = [child.due_at_s - time.monotonic() for child in self._children if child.process is None]
        return max(0.0, min([1.0, *(min(seconds, 0.1) for seconds in waiting)]))

    def _pump(self, timeout_s: float) -> None:
        """Relay what the children say, line by line, for at most `timeout_s` of silence."""
        for key, _ in self._selector.select(timeout_s):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.recv(4096)
            else:
                self._relay(key.fileobj, key.data)  # type: ignore[arg-type]

    def _relay(self, output: IO[bytes], name: str) -> None:
        chunk = os.read(output.fileno(), 65536)
        *lines, rest = (self._partial.pop(output, b"") + chunk).split(b"\n")
        if not chunk or len(rest) > 65536:
            lines.append(rest)
            rest = b""
        for line in filter(None, lines):
            self.say(line.decode(errors="replace"), name=name)
        if rest:
            self._partial[output] = rest
        if not chunk:
            self._selector.unregister(output)
            output.close()

    def _stop(self, children: Sequence[Child]) -> None:
        for child in children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s
        while any(child.alive for child in children):
            # A second Ctrl-C means: now.
            if time.monotonic() > deadline or self._stops_asked > 1:
                self._kill(children)
                return
            self._pump(0.1)
        self._pump(0.0)

    def _kill(self, children: Sequence[Child]) -> None:
        for child in children:
            if child.alive:
                self.say("did not stop in time and was killed", name=child.command.name)
                child.send(signal.SIGKILL)
        for child in children:
            if child.process is not None:
                child.process.wait()


def _stopping() -> Iterator[signal.Signals]:
    yield signal.SIGTERM
    yield signal.SIGINT
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup ./run` outlives its terminal
        yield signal.SIGHUP


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
