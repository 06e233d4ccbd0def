"""`./run faults`: plays scenarios and prints their table; exit code 1 when one is broken."""

import argparse
import random
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from tests.faults import promises, scenarios
from tests.faults.checker import Report
from tests.faults.databases import Databases
from tests.faults.registry import FULL_EVENTS, SCENARIOS, Scenario, in_order, keep_in, play
from tests.faults.staging import base_environ

_HEAD = ("scenario", "events", "lost", "doubled", "uncertain", "recovery p50", "p99", "result", "seed")
_WIDTHS = (9, 7, 5, 8, 10, 13, 7, 8, 6)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./run faults", description="what is done to BitQueue, and what must hold"
    )
    parser.add_argument("names", nargs="*", metavar="F1", help="scenarios or families; all without any")
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument(
        "--events", type=int, default=FULL_EVENTS, help="events a scenario (200 is quick mode)"
    )
    parser.add_argument(
        "--seed", type=int, nargs="+", default=[], help="for the random schedules; printed with each line"
    )
    parser.add_argument("--out", type=Path, default=None, help="a file to which each result is appended")
    parser.add_argument(
        "--results",
        type=Path,
        nargs="+",
        default=[],
        help="play nothing: take what --out wrote to these files",
    )
    parser.add_argument("--keep", type=Path, default=None, help="a directory for the servers' logs")
    parser.add_argument("--write", action="store_true", help="write docs/promises.md with these results")
    return parser.parse_args()


def _chosen(names: list[str], database: str) -> list[Scenario]:
    wanted = {name.lower() for name in names}
    found = [
        each
        for each in in_order()
        if not wanted or each.number.lower() in wanted or each.family.lower() in wanted
    ]
    if not found:
        sys.exit(f"there is no such scenario; there are {', '.join(SCENARIOS)}")
    return [each for each in found if database in each.databases]


def line(report: Report) -> tuple[str, ...]:
    return (
        report.scenario, str(report.events), str(report.lost), str(report.doubled), str(report.uncertain),
        seconds(report.recovery_p50_s), seconds(report.recovery_p99_s), report.result, str(report.seed),
    )  # fmt: skip


def seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def _print(cells: tuple[str, ...], *more: str) -> None:
    print("".join(f"{cell:<{width}} " for cell, width in zip(cells, _WIDTHS, strict=True)), *more, flush=True)


def main() -> int:
    asked = _asked()
    keep_in.extend([asked.keep] if asked.keep else [])
    assert scenarios
    results = [result for path in asked.results for result in promises.read(path)] or _played(asked)
    if asked.write:
        promises.write(results)
    broken = [result.report.scenario for result in results if not result.report.passed]
    print(f"\n{len(results) - len(broken)} of {len(results)} passed")
    return 1 if broken else 0


def _played(asked: argparse.Namespace) -> list[promises.Result]:
    results, commit = [], promises.commit()
    with tempfile.TemporaryDirectory(prefix="bq-faults-") as home:
        databases = Databases(Path(home), asked.db, base_environ())
        _print(_HEAD)
        try:
            for each, seed in product(_chosen(asked.names, asked.db), asked.seed or [random.randrange(1000)]):
                began = time.monotonic()
                played = play(each, databases, seed=seed, events=asked.events)
                took = f"({time.monotonic() - began:.0f} s) {'; '.join(played.notes)}"
                _print(line(played.report), took)
                for sentence in played.report.sentences:
                    print(f"    {sentence}", flush=True)
                results.append(promises.Result(played.report, commit))
                _append(asked.out, results[-1])
        finally:
            databases.close()
    return results


def _append(path: Path | None, result: promises.Result) -> None:
    if path is not None:
        with path.open("a") as file:
            file.write(result.line() + "\n")


if __name__ == "__main__":
    sys.exit(main())
