"""Fail-points find their places in the product, say so when one is gone, and the product knows nothing of them."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import points, weaving
from tests.faults.points import GUARDS, POINTS, Plan, Point
from tests.faults.weaving import SEAMS, Seam
from tests.live import ROOT


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.name)
def test_a_place_is_there(seam: Seam) -> None:
    owner = importlib.import_module(seam.module)

    for part in seam.name.split("."):
        owner = getattr(owner, part)

    assert callable(owner) or seam.name in {"time", "datetime"}


def test_every_point_and_every_guard_has_a_place() -> None:
    placed = {name for seam in SEAMS for name in (*seam.points, seam.guard)}

    assert set(POINTS) <= placed
    assert set(GUARDS) <= placed | set(weaving._WITHOUT)


def _run(home: Path, code: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"PYTHONPATH": str(ROOT / "tests/faults/weave"), "BITQUEUE_FAULTS": str(home)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


def test_a_process_whose_place_is_gone_ends_and_says_so(tmp_path: Path) -> None:
    Plan(points=[Point("after_ring")]).write(tmp_path)
    code = (
        "import sys; from tests.faults import weaving; "
        "sys.meta_path[0]._seams = [weaving.Seam('app.engine.doorbell', 'Doorbell.gone', weaving._ring, ())]; "
        "import app.engine.doorbell"
    )

    done = _run(tmp_path, code)

    assert done.returncode == weaving._GONE
    assert "a fail-point has lost its place: app.engine.doorbell" in done.stderr


def test_a_point_kills_its_process_so_often_and_leaves_word(tmp_path: Path) -> None:
    Plan(points=[Point("after_commit", first=2, times=1)]).write(tmp_path)
    code = (
        "from app.engine.doorbell import Doorbell, connect; bell = Doorbell(connect('redis://127.0.0.1:1')); "
        "bell.ring(); print('once', flush=True); bell.ring(); print('twice', flush=True)"
    )

    killed, lived = _run(tmp_path, code), _run(tmp_path, code)

    assert killed.returncode == -9
    assert lived.returncode == 0
    assert "once" in killed.stdout
    assert "twice" not in killed.stdout
    assert "twice" in lived.stdout
    assert [fired.name for fired in points.fired(tmp_path)] == ["after_commit"]


def test_the_product_knows_nothing_of_faults() -> None:
    sources = [path for place in ("app", "deploy") for path in (ROOT / place).rglob("*.py")]

    told = [
        str(path) for path in [*sources, ROOT / "worker.py", ROOT / "wsgi.py"] if "FAULTS" in path.read_text()
    ]

    assert sources
    assert told == []


def test_a_guard_in_a_statement_is_taken_out_of_it() -> None:
    settle = "UPDATE tasks SET state=? WHERE tasks.id = ? AND tasks.fence = ? AND tasks.state = ?"

    fenceless = weaving.without_guard(settle, frozenset({"fence"}))
    open_ended = weaving.without_guard(settle, frozenset({"settled"}))

    assert fenceless.endswith("AND (tasks.fence = ? OR 1 = 1) AND tasks.state = ?")
    assert open_ended.endswith("AND (tasks.fence = ? OR 1 = 1) AND (tasks.state = ? OR 1 = 1)")
