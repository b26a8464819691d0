"""Do harm to ours and to real Buildbots, and print what was seen, as rows of docs/promises.md.

    python -m benchmarks.harm [--promises 1,2,5] [--sides ours,4.3.0] [--json FILE]

Peers that are not there are installed first, as by the tests. Runs on Linux; a row that needs root says so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.harm import children, disk, drain, links, reconnects, secrets, strangers, tls, tools
from benchmarks.harm.rows import Row, Side

ROWS: Final[Sequence[Row]] = (
    *children.ROWS,
    *disk.ROWS,
    *drain.ROWS,
    *links.ROWS,
    *reconnects.ROWS,
    *secrets.ROWS,
    *strangers.ROWS,
    *tls.ROWS,
    *tools.ROWS,
)


def main() -> int:
    """Run the program; returns its exit code, which is 1 if a harm could not be done."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.harm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = sorted({row.promise for row in ROWS})
    parser.add_argument("--promises", type=_numbers, default=known, metavar="N,N,...", help="which (default: all)")
    parser.add_argument("--sides", type=_sides, default=list(Side), metavar="SIDE,...", help="whom (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    options = parser.parse_args()
    found: list[dict[str, object]] = []
    for row in sorted(ROWS, key=lambda row: row.promise):
        if row.promise in options.promises:
            for side in (side for side in row.sides if side in options.sides):
                figure = _figure(row, side)
                print(f"| {row.promise} | {row.title} | {side.value} | {figure or 'FAILED'} |", flush=True)
                found.append({"promise": row.promise, "harm": row.title, "side": side.value, "figure": figure})
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if all(figure["figure"] for figure in found) else 1


def _figure(row: Row, side: Side) -> str | None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            return row.do(side, Path(folder))
        except Exception:
            traceback.print_exc()
            return None


def _numbers(text: str) -> list[int]:
    try:
        return sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError("numbers of promises with commas between them") from None


def _sides(text: str) -> list[Side]:
    try:
        return [Side(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"some of {', '.join(side.value for side in Side)}") from None


if __name__ == "__main__":
    sys.exit(main())
