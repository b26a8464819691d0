"""The long matrix: `python -m tests.mend` runs every builder on slaves of other generations, with a mender between.

A row tells how many builds have, step by step, the results that they have on the master's own slave without a mender,
and names the others. It is the table of docs/mend.md. One master and one slave run at a time; each pair takes some two
minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Final, TypeAlias

from slaveproto.testing.peers import BuildResult, Kind, RealBuilder, RealMaster, RealSlave, SlaveKind
from slaveproto.testing.peers.mending import MendingLink
from tests.interop.compare import BUILDERS, NEW_BUILDERS, OLD_BUILDERS

PAIRS: Final[tuple[tuple[Kind, SlaveKind], ...]] = (
    ("new", "old"),
    ("new", "mid"),
    ("new", "worker-0.9.0"),
    ("new", "worker-2.10.5"),
    ("old", "new"),
    ("old", "worker-2.10.5"),
    ("old", "worker-0.9.0"),
)

RELEASES: Final[Mapping[SlaveKind, str]] = {
    "old": "0.8.4",
    "mid": "0.8.14",
    "worker-0.9.0": "0.9.0, Python 2",
    "worker-2.10.5": "2.10.5, Python 2",
    "new": "4.3.0",
}

NAMES: Final = tuple(name for name in (*BUILDERS, *OLD_BUILDERS, *NEW_BUILDERS) if not name.startswith("slow"))

HANGS: Final = 45.0
"""Seconds after which a build is given up."""

Builds: TypeAlias = Mapping[str, BuildResult | None]
"""By builder; None for one that hung."""


def run(master_kind: Kind, slave_kind: SlaveKind, names: Sequence[str], *, mended: bool) -> Builds:
    """Build on a slave for each builder, so that one that hangs takes no other with it."""
    builds: dict[str, BuildResult | None] = {}
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        builders = [RealBuilder(name, name, (f"on-{name}",)) for name in names]
        slaves = {f"on-{name}": "pw" for name in names}
        master = stack.enter_context(RealMaster(master_kind, root / "master", builders, slaves=slaves))
        link = stack.enter_context(MendingLink(master)) if mended else master
        for name in names:
            with RealSlave(root / name, link, f"on-{name}", kind=slave_kind) as slave:
                try:
                    slave.wait_attached()
                    builds[name] = master.build(name, HANGS)
                except TimeoutError:
                    builds[name] = None
    return builds


def differences(build: BuildResult | None, own: BuildResult | None) -> str:
    """Tell which steps end otherwise than on the master's own slave; empty if none does."""
    if build is None:
        return "hangs"
    pairs = list(zip_longest(build.steps, own.steps if own is not None else ()))
    odd = [(step, other) for step, other in pairs if not step or not other or step.result != other.result]
    if len(odd) > 3:
        return f"{len(odd)} of {len(pairs)} steps"
    return ", ".join(
        f"{(step or other).name}: {step.result if step else '-'}, not {other.result if other else '-'}"
        for step, other in odd
    )


def main(arguments: Sequence[str]) -> int:
    """Run the matrix and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.mend")
    parser.add_argument("builders", nargs="*", metavar="BUILDER", help="default: all")
    parser.add_argument("--pairs", metavar="MASTER:SLAVE,...", help="default: all")
    options = parser.parse_args(arguments)
    wanted = options.pairs.split(",") if options.pairs else [":".join(pair) for pair in PAIRS]
    names = options.builders or NAMES
    own: dict[Kind, Builds] = {}
    print("| Master | Slave | As on the master's own slave | Otherwise |\n|---|---|---|---|")
    for master_kind, slave_kind in PAIRS:
        if f"{master_kind}:{slave_kind}" not in wanted:
            continue
        if master_kind not in own:
            own[master_kind] = run(master_kind, master_kind, names, mended=False)
        builds = run(master_kind, slave_kind, names, mended=True)
        found = {name: differences(builds[name], own[master_kind][name]) for name in names}
        odd = "; ".join(f"`{name}` ({words})" for name, words in found.items() if words)
        same = sum(not words for words in found.values())
        release = "4.3.0" if master_kind == "new" else "0.8.4p1"
        print(f"| {release} | {RELEASES[slave_kind]} | {same} of {len(names)} | {odd or '-'} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
