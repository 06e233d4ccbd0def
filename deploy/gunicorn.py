"""Gunicorn's settings, the same under `./run` and on a Heroku-like host."""

import os
import signal
from pathlib import Path
from typing import Any

# `app` is not imported here: the master process would load it before gevent has patched the workers.

worker_class = "gevent"
workers = int(os.environ.get("WEB_CONCURRENCY") or 1)
worker_connections = 1000

# Under the supervisor the socket is its: calls that arrive while the web restarts wait instead of being refused.
_listening = os.environ.get("BITQUEUE_LISTEN_FD")
bind = f"fd://{_listening}" if _listening else f"0.0.0.0:{os.environ.get('PORT') or 8000}"
backlog = 1024

# A worker that has not turned for `timeout` is ended; a stop lets open requests finish, within the supervisor's 15 s.
timeout = 45
graceful_timeout = 10
keepalive = 30

# A heartbeat file on a slow disk stalls the worker that writes it.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - gunicorn makes the file itself

loglevel = "warning"
accesslog = None
control_socket_disable = True


def post_fork(_master: Any, _worker: Any) -> None:
    """A signal to stop ends a worker that has no handlers yet: the master's, which it inherits, would swallow it.

    It would go on taking calls then, and be killed with those under way when the master's patience is over.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
