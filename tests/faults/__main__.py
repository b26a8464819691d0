"""Campaigns of harm in virtual time, as long as you like; prints what went wrong, and the figures.

python -m tests.faults [--every-byte STRIDE] [--disconnects N] [--seed N] [--lasting]
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.faults.campaign import PIECES, disconnects, every_byte, length
from tests.faults.world import Kind


def main() -> int:
    """Run the program; returns 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--every-byte", type=int, default=1, metavar="STRIDE", help="bytes between two tries; 0: none")
    parser.add_argument("--disconnects", type=int, default=100_000, metavar="N", help="0: none")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the disconnects")
    parser.add_argument("--lasting", action="store_true", help="over streams that outlive their carriers")
    options = parser.parse_args()
    lasting = options.lasting
    wrong: list[str] = []
    if options.every_byte:
        for pieces in PIECES:
            for kind in Kind:
                start, places = time.monotonic(), range(0, length(pieces, lasting=lasting), options.every_byte)
                found = every_byte(kind, pieces, places, lasting=lasting)
                print(
                    f"{kind.name} at {len(places)} of {places.stop} bytes, {pieces.name}: {len(found)} wrong, "
                    f"{time.monotonic() - start:.0f} s",
                    flush=True,
                )
                wrong += found
    if options.disconnects:
        start = time.monotonic()
        world = disconnects(options.seed, options.disconnects, lasting=lasting)
        print(
            f"{options.disconnects} disconnects: {world.user.succeeded} builds succeeded, {world.user.lost} lost their "
            f"slave, {len(world.spawned)} commands, {len(world.user.wrong)} wrong, {time.monotonic() - start:.0f} s"
        )
        wrong += world.user.wrong
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
