"""Cut the links of real masters and slaves in the middle of builds, and compare what came of the builds.

    python -m tests.cuts [PAIR ...] [--cuts N] [--seed N] [--away S] [--slow S]

Prints a row for each pair and harm, and where builds differ. Exits with 1 if a build differs, or is lost and
no relay was killed. Runs on
Linux, one pair at a time; needs the real peers (`python -m slaveproto.testing.peers install old new`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cuts.campaign import HEAD, Row, Trial, trial
from tests.cuts.pairs import PAIRS
from tests.cuts.wire import Absence

NOTICED = 35.0
"""Seconds within which there is another carrier for one that is frozen."""

KNOWN = 60.0
"""Seconds within which a master knows that a relay was killed."""


def main() -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cuts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help=f"of {', '.join(PAIRS)}; default: all but bare")
    parser.add_argument("--cuts", type=int, default=100, metavar="N", help="random cuts of a pair (default: 100)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the cuts")
    parser.add_argument(
        "--away", type=float, default=60, metavar="S", help="seconds of an outage (default: 60); 0: none"
    )
    parser.add_argument(
        "--slow", type=float, default=75, metavar="S", help="seconds of 64 kbit/s (default: 75); 0: none"
    )
    parser.add_argument("--no-freeze", dest="freeze", action="store_false", help="without a frozen carrier")
    parser.add_argument("--kill", action="store_true", help="kill each relay, too, which costs a build")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the files of the run in a new directory")
    options = parser.parse_args()
    if unknown := [name for name in options.pairs if name not in PAIRS]:
        parser.error(f"no such pair: {', '.join(unknown)}")
    wrong = False
    print(HEAD, flush=True)
    for name in options.pairs or [name for name in PAIRS if name != "bare"]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch) if options.keep is None else options.keep / name
            folder.mkdir(parents=True, exist_ok=True)
            with trial(PAIRS[name], folder) as running:
                for row, lost in _rows(running, options):
                    print(row, *row.different, sep="\n", flush=True)
                    wrong = wrong or row.lost != lost or bool(row.different)
    return 1 if wrong else 0


def _rows(running: Trial, options: argparse.Namespace) -> Iterator[tuple[Row, int]]:
    """Do the harm; yield each row with the number of builds that are to be lost."""
    if options.cuts:
        yield running.storm(options.seed, options.cuts), 0
    if options.away:
        yield running.outage(options.away, Absence.REFUSED), 0
        yield running.outage(options.away, Absence.SILENT), 0
    if options.freeze:
        row, seconds = running.frozen(NOTICED)
        print(f"the frozen carrier was noticed after {seconds:.1f} s")
        yield row, 0
    if options.slow:
        yield running.slow(options.slow), 0
    if options.kill:
        for relay in running.chain.relays:
            row, seconds = running.killed(relay, KNOWN)
            print(f"the master knew after {seconds:.1f} s")
            yield row, 1


if __name__ == "__main__":
    sys.exit(main())
