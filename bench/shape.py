"""The shape of the code: how long its functions and files are.

Fails when the median function is over nine lines, or the median integration over 150.
"""

import ast
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEDIAN_LINES = 9
MEDIAN_INTEGRATION_LINES = 150


def lengths(source: str) -> list[int]:
    """Lines of every function, its decorators left out."""
    functions = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]


def integrations(sources: dict[Path, str]) -> float:
    """Prints the median and the largest integration file; gives the median."""
    files = {
        path.stem: source.count("\n")
        for path, source in sources.items()
        if path.parent.name == "integrations" and path.stem != "__init__"
    }
    median, largest = statistics.median(files.values()), max(files, key=lambda name: files[name])
    print(f"{len(files)} integrations: median {median:.0f} lines, the largest {largest} ({files[largest]})")
    return median


def main() -> None:
    sources = {path: path.read_text() for path in sorted((ROOT / "app").rglob("*.py"))}
    found = sorted(length for source in sources.values() for length in lengths(source))
    median, most = statistics.median(found), found[int(len(found) * 0.9)]
    print(
        f"{len(found)} functions in {len(sources)} files: median {median:.0f} lines, nine in ten at most {most}"
    )
    long = [
        f"{path.relative_to(ROOT)} ({source.count(chr(10))})"
        for path, source in sources.items()
        if source.count("\n") > 300
    ]
    if long:
        print("files over 300 lines: " + ", ".join(long))
    median_integration = integrations(sources)
    if median > MEDIAN_LINES:
        sys.exit(f"the median function has more than {MEDIAN_LINES} lines")
    if median_integration > MEDIAN_INTEGRATION_LINES:
        sys.exit(f"the median integration has more than {MEDIAN_INTEGRATION_LINES} lines")


if __name__ == "__main__":
    main()
