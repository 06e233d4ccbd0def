"""The collector after start-up, in a process of its own."""

import subprocess
import sys

from app.config import CHECKOUT

_SEEN = """
import gc
from app import garbage
ring = []; ring.append(ring); del ring
garbage.settle()
print(gc.get_freeze_count() > 1000, gc.get_threshold()[0], gc.isenabled())
"""


def test_what_was_loaded_is_not_looked_at_again_and_new_cycles_still_are():
    done = subprocess.run(
        [sys.executable, "-c", _SEEN], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["True", "30000", "True"]
