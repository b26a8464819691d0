"""Fuzz everything that reads bytes of a peer, guided by the code that it reaches.

    python -m tests.fuzz [TARGET ...] [--seconds N] [--keep]

Needs `pip install -e '.[fuzz]'`. Prints one line for each target. An input that breaks a promise is told with its
traceback, and written to `fuzz-TARGET-HASH`; the exit code is 1.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.fuzz.seeds import corpus, keep, seeds
from tests.fuzz.targets import TARGETS

LONGEST: Final = 40_000
"""Bytes of an input."""

MOST: Final = 1 << 10
"""Megabytes of memory, beyond which an input has broken a promise."""

SLOW: Final = 10
"""Seconds that one input may take."""


def main() -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each target")
    parser.add_argument("--keep", action="store_true", help="put what reached new code into the corpus")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    return max(_campaign(target, options.seconds, keeps=options.keep) for target in options.targets or TARGETS)


def _campaign(target: str, seconds: int, *, keeps: bool) -> int:
    """Fuzz one target in a process of its own: the fuzzer ends its process."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder)
        for number, data in enumerate(seeds(target)):
            (found / f"seed-{number}").write_bytes(data)
        for number, data in enumerate(corpus(target)):
            (found / f"kept-{number}").write_bytes(data)
        run = [sys.executable, "-m", "tests.fuzz.one", target]
        arguments = [
            f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-rss_limit_mb={MOST}", f"-timeout={SLOW}",
            f"-artifact_prefix=fuzz-{target}-", "-print_final_stats=1",
        ]  # fmt: skip
        done = subprocess.run([*run, *arguments, str(found)], capture_output=True, text=True, check=False)
        runs = re.search(r"number_of_executed_units:\s+(\d+)", done.stderr)
        peak = re.search(r"peak_rss_mb:\s+(\d+)", done.stderr)
        if done.returncode or runs is None or peak is None:
            told = [line for line in done.stderr.splitlines() if not line.startswith(("#", "INFO:"))]
            print(f"{target}: FAILED\n{done.stdout}", *told[-60:], sep="\n")
            return 1
        print(f"{target}: {runs[1]} runs in {seconds} s, at most {peak[1]} MB, nothing found", flush=True)
        if keeps:
            # The fuzzer adds what reaches new code, and removes what a shorter input replaces.
            keep(target, [path.read_bytes() for path in found.iterdir() if not path.name.startswith("seed-")])
        return 0


if __name__ == "__main__":
    sys.exit(main())
