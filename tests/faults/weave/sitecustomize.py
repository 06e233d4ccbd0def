"""Stands first on the path of processes that a fault scenario starts: weaves in what its plan asks for."""

import os
import sys
from pathlib import Path

if os.environ.get("BITQUEUE_FAULTS"):
    sys.path.append(str(Path(__file__).resolve().parents[3]))

    from tests.faults import weaving

    weaving.install(Path(os.environ["BITQUEUE_FAULTS"]))
