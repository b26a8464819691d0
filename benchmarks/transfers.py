"""Files and directories through a link with a delay: our slave beside Buildbot's own, with the same unmodified master.

    python benchmarks/transfers.py [--rtt 60 200] [--megabytes 20] [--worker-megabytes 5] [--runs 3] [--json]

A relay between slave and master delays each direction by half the round trip; it limits no bandwidth and keeps the
order. The steps are the master's own with their default block sizes: 256 KiB for the upload of a file (up), 16 KiB for
its download (down) and for the upload of a directory (updir). The worker waits for one round trip per block; with
small blocks it gets less to carry, and what is compared is throughput. It does everything once, ours several times;
the row is the median. Seconds are those between `startCommand` and `complete` at the master's end of the link. Memory
is the resident set of the slave before a transfer and its peak during it. What arrived is compared by SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.link import SlowLink
from slaveproto.testing.peers import OurSlave, RealBuilder, RealMaster, RealSlave, SlaveProgram

TRANSFERS: Final = {"up": 256, "down": 16, "updir": 16}
"""Entries of the peers' catalogue and the KiB of a block of their steps."""

WORKER: Final = "worker"
RUNNERS: Final = ("threads", "trio")

TREE_FILE: Final = 100_000
"""Bytes of a file of the directory."""


# -- what is carried


def make_file(path: Path, size: int) -> None:
    """Make a file of random bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def make_tree(path: Path, size: int) -> None:
    """Make a directory of files."""
    for number in range(-(-size // TREE_FILE)):
        make_file(path / f"d{number % 10}" / f"f{number}", min(TREE_FILE, size - number * TREE_FILE))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a directory; empty if there is neither."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{file.relative_to(path)} {digest(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest() if files else ""


# -- measuring


@attrs.frozen
class Row:
    """One transfer.

    Args:
        rtt: milliseconds.
        transfer: entry of the catalogue.
        slave: "worker" or what ours runs on.
        size: bytes.
        seconds: from `startCommand` to `complete`.
        before: megabytes of the slave's memory before.
        peak: the most of it meanwhile.
        same: whether what arrived is what was sent.
    """

    rtt: int
    transfer: str
    slave: str
    size: int
    seconds: float
    before: float
    peak: float
    same: bool

    @property
    def speed(self) -> float:
        """Megabytes per second."""
        return self.size / 1e6 / self.seconds


def measure(
    link: SlowLink, master: RealMaster, slave: SlaveProgram, rtt: int, transfer: str, size: int, timeout: float
) -> Row:
    """Carry something once."""
    builder = f"{slave.name}-{transfer}"
    here, there = slave.directory / builder / "build" / "data", master.directory / "files" / builder / "data"
    source, target = (there, here) if transfer == "down" else (here, there)
    (make_tree if transfer == "updir" else make_file)(source, size)
    before = slave.forget_peak()
    build = master.build(builder, timeout)
    return Row(
        rtt=rtt,
        transfer=transfer,
        slave=slave.name.partition("-")[0],
        size=size,
        seconds=link.seconds,
        before=before,
        peak=slave.peak_memory,
        same=build.result == "success" and digest(source) == digest(target) != "",
    )


def rows(rtts: list[int], size: int, worker_size: int, runs: int) -> Iterator[Row]:
    """Make every transfer: those of the worker once, ours `runs` times."""
    names = [f"{name}-{rtt}" for rtt in rtts for name in (WORKER, *RUNNERS)]
    builders = [RealBuilder(f"{name}-{transfer}", transfer, (name,)) for name in names for transfer in TRANSFERS]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with RealMaster("new", folder / "master", builders, slaves=dict.fromkeys(names, "pw")) as master:
            for rtt in rtts:
                with SlowLink(master, rtt / 1000) as link:
                    for kind in (WORKER, *RUNNERS):
                        with _slave(kind, folder / f"{kind}-{rtt}", link, rtt) as slave:
                            master.wait_attached(slave.name)
                            for transfer, block in TRANSFERS.items():
                                small = kind == WORKER and block < 256
                                much = min(size, worker_size) if small else size
                                patience = 60 + 2 * much / (block * 1024) * rtt / 1000
                                tries = [
                                    measure(link, master, slave, rtt, transfer, much, patience)
                                    for _ in range(1 if kind == WORKER else runs)
                                ]
                                yield _median(tries)


def _median(tries: list[Row]) -> Row:
    """Return the row in the middle, with the memory and the failures of all."""
    middle = sorted(tries, key=lambda row: row.seconds)[len(tries) // 2]
    return attrs.evolve(
        middle,
        before=min(row.before for row in tries),
        peak=max(row.peak for row in tries),
        same=all(row.same for row in tries),
    )


def _slave(kind: str, directory: Path, link: SlowLink, rtt: int) -> SlaveProgram:
    if kind == WORKER:
        return RealSlave(directory, link, f"{kind}-{rtt}", kind="new")
    return OurSlave(directory, link, f"{kind}-{rtt}", runner="trio" if kind == "trio" else "threads")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rtt", type=int, nargs="+", default=[60, 200], metavar="MS", help="round trip in milliseconds"
    )
    parser.add_argument("--megabytes", type=float, default=20.0)
    parser.add_argument(
        "--worker-megabytes", type=float, default=5.0, help="what the worker carries in blocks of 16 KiB (default: 5)"
    )
    parser.add_argument("--runs", type=int, default=3, help="how often ours carries everything")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.json:
        print(f"{'RTT':>6}{'transfer':>10}{'block':>9}{'slave':>9}{'MB':>8}{'s':>9}{'MB/s':>9}{'ratio':>8}", end="")
        print(f"{'memory, MB':>16}  same")
    found: list[Row] = []
    ratios: list[float] = []
    sizes = int(options.megabytes * 1e6), int(options.worker_megabytes * 1e6)
    for row in rows(options.rtt, *sizes, options.runs):
        found.append(row)
        own = next(r for r in found if (r.rtt, r.transfer, r.slave) == (row.rtt, row.transfer, WORKER))
        ratios.append(row.speed / own.speed)
        if not options.json:
            print(f"{row.rtt:>3} ms{row.transfer:>10}{TRANSFERS[row.transfer]:>5} KiB{row.slave:>9}", end="")
            print(f"{row.size / 1e6:>8.1f}{row.seconds:>9.2f}{row.speed:>9.2f}{ratios[-1]:>8.1f}", end="")
            print(f"{row.before:>8.1f}{row.peak:>8.1f}  {'yes' if row.same else 'NO'}", flush=True)
    if options.json:
        more = zip(found, ratios, strict=True)
        print(json.dumps([{**attrs.asdict(row), "speed": row.speed, "ratio": ratio} for row, ratio in more]))
    return 0 if all(row.same for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
