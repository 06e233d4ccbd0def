"""Look-ups of names, each with a time limit, which the system's own have not."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any, TypeAlias

Found: TypeAlias = Sequence[tuple[Any, ...]]
Resolver: TypeAlias = Callable[[str, int], Found]


@dataclass(frozen=True, slots=True)
class Lookups:
    """Those under way: whoever asks for a name meanwhile waits for the same answer.

    A look-up that is late is left behind, and goes on for as long as the system tries. So a name that hangs
    holds one thread, however many ask for it and however often.
    """

    _under_way: dict[tuple[Resolver, str, int], Future[Found]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def within(self, seconds: float, resolver: Resolver, name: str, port: int) -> Found:
        """What `resolver` answers or raises; TimeoutError when it does not in time."""
        return self._asked(resolver, name, port).result(timeout=max(seconds, 0))

    def _asked(self, *asked: Any) -> Future[Found]:
        with self._lock:
            if asked in self._under_way:
                return self._under_way[asked]
            answer = self._under_way[asked] = Future()
        # Under gevent a greenlet, in which the look-up itself runs in a thread.
        Thread(target=self._fulfil, args=(answer, *asked), daemon=True).start()
        return answer

    def _fulfil(self, answer: Future[Found], *asked: Any) -> None:
        resolver, name, port = asked
        found: Found = []
        failure: OSError | UnicodeError | None = None
        try:
            found = resolver(name, port)
        except (OSError, UnicodeError) as error:
            failure = error
        finally:
            # Before it is answered: who asks again afterwards must get a new answer.
            with self._lock:
                del self._under_way[asked]
        answer.set_exception(failure) if failure else answer.set_result(found)
