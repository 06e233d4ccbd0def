"""The threads in which a patched process looks names up.

gevent's are ten, shared with all else that runs aside: a dozen names whose servers do not answer hold them for as long
as the system tries, and every other look-up of the process waits behind them.
"""

from typing import Any

from gevent import config, get_hub, monkey
from gevent.resolver import thread
from gevent.threadpool import ThreadPool

# Beside one for each task: look-ups that nobody waits for any more, as the system gives up late.
_LEFT_BEHIND = 100
_IDLE_S = 60.0


class Resolver(thread.Resolver):  # type: ignore[misc]
    """gevent's own, which asks as the system does, with threads of its own."""

    def __init__(self, hub: Any, most: int) -> None:
        super().__init__(hub)
        self.pool = ThreadPool(most, hub, idle_task_timeout=_IDLE_S)


def install(tasks: int) -> None:
    """For so many tasks at once, in a process that gevent has patched; what GEVENT_RESOLVER names stays."""
    if monkey.is_module_patched("socket") and config.resolver is thread.Resolver:
        hub = get_hub()
        hub.resolver = Resolver(hub, tasks + _LEFT_BEHIND)
