import mmap
import subprocess
import sys
from pathlib import Path

from app import memory
from app.config import CHECKOUT

MB = 1 << 20
_FREES = """
from app import memory
memory.give_back()
bytes(5 << 20)
before, lives = memory.private_bytes(), []
for _ in range(5):
    large = [b"x" * (5 << 20) for _ in range(4)]
    lives += [bytes(60_000) for _ in range(20)]
    del large
print((memory.private_bytes() - before) >> 20)
"""


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


def test_large_pieces_that_are_freed_are_no_longer_held():
    answer = subprocess.run(
        [sys.executable, "-c", _FREES], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert int(answer.stdout) < 10
