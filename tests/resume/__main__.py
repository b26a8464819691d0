"""Streams over networks that fail, for long: every byte of a short conversation, then random worlds.

    python -m tests.resume [--worlds N] [--seed N]

Prints each world in which something was lost, came twice, or did not end, and exits with 1 if there was one.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.resume.test_world import CONVERSATION, DOWN, UP, arrives, random_world
from tests.resume.world import Fault, Kind, World


def main() -> int:
    """Run the campaign; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.resume", description="Streams over networks that fail.")
    parser.add_argument("--worlds", type=int, default=100_000, metavar="N", help="random worlds (default: 100000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first random world")
    options = parser.parse_args()
    begun = time.monotonic()
    wrong = 0
    for kind in Kind:
        for after in range(CONVERSATION):
            wrong += not _runs(World(UP, DOWN, [Fault(kind, after)], seed=after), f"{kind.name} after byte {after}")
    print(f"{len(Kind) * CONVERSATION} places: {wrong} wrong, {time.monotonic() - begun:.0f} s", flush=True)
    cuts = 0
    for seed in range(options.seed, options.seed + options.worlds):
        world = random_world(random.Random(seed), seed)
        wrong += not _runs(world, f"--seed {seed} --worlds 1")
        cuts += world.losses
        if (seed + 1) % 10_000 == 0:
            print(f"{seed + 1 - options.seed} worlds, {cuts} cuts, {wrong} wrong", flush=True)
    print(f"{options.worlds} worlds: {cuts} cuts, {wrong} wrong, {time.monotonic() - begun:.0f} s")
    return 1 if wrong else 0


def _runs(world: World, name: str) -> bool:
    try:
        world.run()
        arrives(world)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}"[:500], flush=True)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
