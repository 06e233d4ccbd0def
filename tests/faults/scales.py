"""Weighs the processes of a stage again and again, while something is done to it."""

import statistics
import threading
from typing import Self

from tests.faults.parts import private_bytes
from tests.faults.server import NAMES, Stage


class Scales:
    """Their memory without what they share, in bytes; from the block's beginning to its end."""

    def __init__(self, stage: Stage, *, every_s: float) -> None:
        self._stage, self._every_s = stage, every_s
        # In the order of time: (name, bytes), each time once for every process.
        self._seen: list[tuple[str, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._weigh_all, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join(10)

    def most(self, name: str) -> int:
        """Of any process of that name."""
        return max(self._of(name), default=0)

    def climb(self, name: str) -> int:
        """From the second quarter of the time to the last: what is kept for good, not what comes and goes."""
        seen = self._of(name)
        quarter = len(seen) // 4
        return int(statistics.median(seen[-quarter:]) - statistics.median(seen[quarter : 2 * quarter]))

    def _of(self, name: str) -> list[int]:
        return [taken for seen, taken in self._seen if seen == name]

    def _weigh_all(self) -> None:
        while not self._over.wait(self._every_s):
            self._seen += [(name, private_bytes(pid)) for name in NAMES for pid in self._stage.children(name)]
