"""docs/promises.md: what BitQueue promises, what that rests on, and how the scenarios that try to break it ended."""

import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.checker import Report
from tests.faults.registry import SCENARIOS, in_order
from tests.live import ROOT

PAGE = ROOT / "docs" / "promises.md"
_NOT_YET = "not yet"
_COLUMNS = (
    "scenario", "what is done", "database", "events", "lost", "doubled", "uncertain", "recovery p50", "p99", "result",
    "seed", "commit",
)  # fmt: skip
_ROW = re.compile(r"^\| (F\d+[a-z]?) \| .* \| (sqlite|postgres) \|")
_INTRO = """\
# Promises

Each promise, what it rests on, what would break it, and the scenarios that try to. A scenario runs the real processes
with a stand-in provider that writes down every request before it answers; afterwards what was sent, what the database
holds and what the provider saw are compared. *Lost*: acknowledged and not done, or said to be done and not.
*Doubled*: twice where once was meant. *Uncertain*: it may have been done, and a person is asked.

`./run faults` plays them (`./run faults F2 --db postgres --seed 7` plays one again); `--write` brings the results here.
Where there are several seeds, events, lost, doubled and uncertain are sums, and the times are the longest.
"""


@dataclass(frozen=True)
class Promise:
    number: str
    promise: str
    assumption: str
    breaks: str


PROMISES = (
    Promise(
        "1",
        "An event answered with 2xx is on disk",
        "the disk keeps what it said it wrote (`synchronous=FULL`; PostgreSQL's `synchronous_commit=on`)",
        "a disk that lies about flushing; `synchronous=NORMAL` and a power cut",
    ),
    Promise(
        "2",
        "Every task ends, or stands visibly waiting or uncertain, with a cause",
        "at least one worker runs; the tick runs, by the clock or by a worker",
        "no worker at all; a queue that is paused",
    ),
    Promise(
        "3",
        "Losing Redis, or any process, loses nothing and delays work by seconds",
        "the supervisor, or the host, starts what died",
        "a process that cannot start again",
    ),
    Promise(
        "4",
        "What may not be repeated is never silently sent twice",
        "an attempt is recorded as started before it is sent; the provider drops repeats of an `Idempotency-Key` "
        "where an action says so",
        "an action that says it may be repeated and may not; a person who answers *do it again*",
    ),
    Promise(
        "5",
        "A schedule's slot fires once",
        "the machine's clock is right within a second or two",
        "machines whose clocks differ by more than a lease",
    ),
    Promise(
        "6",
        "The same delivery makes one event",
        "the caller repeats its key (or body, where the integration tells deliveries apart by it)",
        "a caller that makes a new key for each try",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """A report, and the commit that it is of."""

    report: Report
    commit: str

    def line(self) -> str:
        return json.dumps({"commit": self.commit, **asdict(self.report)})


def read(path: Path) -> list[Result]:
    """What `line` wrote, a line each."""
    given = map(json.loads, path.read_text().splitlines())
    return [Result(Report(**one), commit) for one in given for commit in [one.pop("commit")]]


def write(results: Iterable[Result]) -> None:
    """The page anew: these results, and those that stood there for what was not played now."""
    played: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        played.setdefault((result.report.scenario, result.report.database), []).append(result)
    PAGE.write_text(page({**_standing(), **{key: _row(those) for key, those in played.items()}}))


def page(rows: dict[tuple[str, str], str]) -> str:
    lines = [_INTRO, *_promise_table(), "", "## The last results", "", *_head(_COLUMNS)]
    for each in in_order():
        for database in each.databases:
            none = _line((each.number, each.fault, database, *[""] * 6, _NOT_YET, "", ""))
            lines.append(rows.get((each.number, database), none))
    return "\n".join(lines) + "\n"


def _promise_table() -> list[str]:
    rows = [
        _line((f"{each.number}. {each.promise}", each.assumption, each.breaks, ", ".join(_trying(each))))
        for each in PROMISES
    ]
    return [*_head(("promise", "rests on", "what would break it", "scenarios")), *rows]


def _trying(promise: Promise) -> list[str]:
    return [each.number for each in in_order() if promise.number in each.promise.split()]


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), _line(["---"] * len(cells)).replace(" ", "")]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(results: Sequence[Result]) -> str:
    """Over all seeds: sums, and of the times the longest."""
    reports = [result.report for result in results]
    first = reports[0]
    return _line(
        (
            first.scenario, SCENARIOS[first.scenario].fault, first.database,
            f"{sum(each.events for each in reports):,}",
            str(sum(each.lost for each in reports)), str(sum(each.doubled for each in reports)),
            str(sum(each.uncertain for each in reports)), _longest(each.recovery_p50_s for each in reports),
            _longest(each.recovery_p99_s for each in reports), min(each.result for each in reports),
            ", ".join(str(each.seed) for each in reports), ", ".join(sorted({each.commit for each in results})),
        )
    )  # fmt: skip


def _longest(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known):.1f} s" if known else "–"


def _standing() -> dict[tuple[str, str], str]:
    text = PAGE.read_text() if PAGE.exists() else ""
    found = [
        (match, line) for line in text.splitlines() if (match := _ROW.match(line)) and _NOT_YET not in line
    ]
    return {(match[1], match[2]): line for match, line in found}


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def listed(path: Path = PAGE) -> dict[str, set[str]]:
    """Scenario → its databases, as the page has them."""
    found: dict[str, set[str]] = {}
    for match in filter(None, map(_ROW.match, path.read_text().splitlines())):
        found.setdefault(match[1], set()).add(match[2])
    return found
