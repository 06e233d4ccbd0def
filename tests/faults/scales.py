"""Weighs the processes of a stage again and again, while something is done to it."""

import threading
from collections import defaultdict
from typing import Self

from tests.faults.parts import private_bytes
from tests.faults.server import NAMES, Stage


class Scales:
    """Their memory without what they share; from the block's beginning to its end."""

    def __init__(self, stage: Stage, *, every_s: float) -> None:
        self._stage, self._every_s = stage, every_s
        # name → pid → the most it ever was.
        self._seen: dict[str, dict[int, int]] = defaultdict(dict)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._weigh_all, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join(10)

    def most(self, name: str) -> int:
        """Of any process of that name, in bytes."""
        return max(self._seen[name].values(), default=0)

    def _weigh_all(self) -> None:
        while not self._over.wait(self._every_s):
            for name in NAMES:
                for pid in self._stage.pids(name):
                    self._seen[name][pid] = max(self._seen[name].get(pid, 0), private_bytes(pid))
