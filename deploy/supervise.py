"""`./run`: one process that starts BitQueue's others and keeps them running."""

import errno
import fcntl
import http.client
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import IO

from app import config
from deploy import valkey
from deploy.children import Command, Supervisor
from deploy.prepare import BIN, migrate, read_settings, stop


def commands(settings: config.Config, listener: socket.socket) -> list[Command]:
    """What runs, in the order in which it starts."""
    fd = listener.fileno()
    web = Command(
        "web",
        [str(BIN / "gunicorn"), "-c", "deploy/gunicorn.py", "wsgi:app"],
        environ={"BITQUEUE_LISTEN_FD": str(fd)},
        pass_fds=(fd,),
    )
    numbers = range(1, settings.workers + 1)
    workers = [Command(f"worker-{number}", [sys.executable, "worker.py"], later=True) for number in numbers]
    clock = Command("clock", [sys.executable, "-m", "deploy.clock"], later=True)
    return [*_redis(settings), web, *workers, clock]


def _redis(settings: config.Config) -> list[Command]:
    if not settings.redis_is_embedded:
        return []
    home = settings.bitqueue_home
    return [Command("redis", valkey.command(home, config.redis_socket(home)), foundation=True)]


def lock(home: Path) -> IO[str]:
    """Hold the home until this process ends, however it ends."""
    held = (home / "run.lock").open("a+")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        running = (home / "run.lock").read_text().strip() or "unknown"
        stop(
            f"it already runs on {home} (process {running}); stop that one, "
            "or set BITQUEUE_HOME and PORT to run another beside it"
        )
    held.truncate(0)
    held.write(str(os.getpid()))
    held.flush()
    return held


def listen(port: int) -> socket.socket:
    """The web's socket, held here so that calls wait while the web process is replaced."""
    try:
        return socket.create_server(("0.0.0.0", port), backlog=1024)  # noqa: S104 - hooks come from outside
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            stop(f"port {port} is taken by another program; stop it or set PORT to a free one")
        stop(f"port {port} cannot be opened: {str(error.strerror).lower()}; set PORT to another one")


def announce(port: int, address: str, supervisor: Supervisor) -> None:
    """Say where BitQueue is, once it answers."""
    while not _answers(port):
        time.sleep(0.05)
    supervisor.start_later_ones()
    supervisor.say(f"BitQueue is at {address}  (Ctrl-C stops it)")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Connection": "close"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> None:
    """Prepare, then run until stopped."""
    os.chdir(config.CHECKOUT)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    settings = read_settings()
    held = lock(settings.bitqueue_home)
    listener = listen(settings.port)
    migrate(settings)
    supervisor = Supervisor(commands(settings, listener), on_stop=listener.close)
    ready = (settings.port, settings.public_url, supervisor)
    threading.Thread(target=announce, args=ready, daemon=True).start()
    supervisor.run()
    held.close()
    supervisor.say("BitQueue has stopped")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
