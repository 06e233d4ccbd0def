"""The memory that this process has for itself alone: how much, and what becomes of what it frees."""

import ctypes
import os
import resource
from pathlib import Path

_STATM = Path("/proc/self/statm")
# malloc.h of glibc
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES, _SPARE_BYTES = 1 << 20, 16 << 20


def private_bytes() -> int:
    """Resident, without what is shared with other processes; where there is no /proc, the most there ever was."""
    try:
        _size, resident, shared = _STATM.read_text().split()[:3]
    except OSError:
        # In bytes on macOS, in kilobytes on Linux.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Large pieces go back to the system when they are freed.

    glibc keeps up to 32 MB of each for later, among small ones that live on: a few bodies of megabytes make a process
    larger for good. Where there is no `mallopt` (musl, macOS) nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        # Setting the one fixes this one, too, at so little that a process gives and takes all the time.
        mallopt(_M_TRIM_THRESHOLD, _SPARE_BYTES)
