import mmap
from pathlib import Path

from app import memory

MB = 1 << 20


def test_memory_that_is_taken_and_touched_counts():
    before = memory.private_bytes()

    taken = b"\x01" * (64 * MB)

    assert 50 * MB < memory.private_bytes() - before < 80 * MB
    del taken


def test_pages_that_are_shared_do_not_count():
    with mmap.mmap(-1, 64 * MB, flags=mmap.MAP_SHARED) as shared:
        before = memory.private_bytes()

        for place in range(0, len(shared), mmap.PAGESIZE):
            shared[place] = 1

        assert memory.private_bytes() - before < 10 * MB


def test_without_proc_the_most_there_was_counts(monkeypatch):
    monkeypatch.setattr(memory, "_STATM", Path("/nowhere/statm"))

    assert memory.private_bytes() > 0
