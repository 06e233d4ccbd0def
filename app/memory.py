"""How much memory this process has for itself alone."""

import os
import resource
from pathlib import Path

_STATM = Path("/proc/self/statm")


def private_bytes() -> int:
    """Resident, without what is shared with other processes; where there is no /proc, the most there ever was."""
    try:
        _size, resident, shared = _STATM.read_text().split()[:3]
    except OSError:
        # In bytes on macOS, in kilobytes on Linux.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
