"""Measure what things cost, ours beside real peers in the same run; print a table.

    python -m benchmarks [--rows 1,2,5] [--runs N] [--json FILE] [--smoke]

Rows are those of docs/benchmarks.md. Contestants take turns; what is printed are medians. Peers that are not there are
installed first, as by the tests. Runs on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks import attach, growth, log_lines, machine, many_slaves, messages, startup, steps
from benchmarks.figures import Figure, Options

ROWS: Final[Mapping[int, Callable[[Options], Iterator[Figure]]]] = {
    1: messages.small,
    2: messages.large,
    3: growth.rows,
    4: attach.rows,
    5: log_lines.rows,
    6: startup.rows,
    7: many_slaves.rows,
    8: steps.rows,
}


def main() -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=_rows, default=list(ROWS), metavar="N,N,...", help="which (default: all)")
    parser.add_argument("--runs", type=_positive, default=5, metavar="N", help="of each contestant (default: 5)")
    parser.add_argument(
        "--megabytes", type=float, default=50.0, metavar="N", help="of log lines in row 5 (default: 50)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all figures go")
    parser.add_argument("--smoke", action="store_true", help="only see whether it runs; what it prints means nothing")
    options = parser.parse_args()
    much = Options(1 if options.smoke else options.runs, options.smoke, 1.0 if options.smoke else options.megabytes)
    before, start = os.getloadavg()[0], time.monotonic()
    found: list[Figure] = []
    for row in options.rows:
        for figure in ROWS[row](much):
            found.append(figure)
            print(figure.as_text(goals=not options.smoke), flush=True)
    report = {
        "machine": machine.description(),
        "load": {"before": round(before, 1), "after": round(os.getloadavg()[0], 1)},
        "seconds": round(time.monotonic() - start),
        "options": {"runs": much.runs, "smoke": much.smoke, "megabytes": much.megabytes},
        "figures": [figure.as_json() for figure in found],
    }
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.smoke:
        print(f"{len(found)} figures, none of which means anything; {report['seconds']} s")
        return 0
    verdicts = [figure.is_met(comparison) for figure in found for comparison in figure.comparisons]
    print(f"{verdicts.count(True)} goals met, {verdicts.count(False)} not; {report['seconds']} s")
    return 0


def _rows(text: str) -> list[int]:
    try:
        rows = sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError("row numbers with commas between them") from None
    if unknown := set(rows) - set(ROWS):
        raise argparse.ArgumentTypeError(f"no such rows: {', '.join(map(str, sorted(unknown)))}")
    return rows


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
