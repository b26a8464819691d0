"""What a slave costs before it does anything: ours beside Buildbot's own, attached to the same real master.

    python benchmarks/startup.py [--runs N] [--master new|old] [--json]

For each run both slaves are started in turn. CPU seconds are those of the whole process from its start until the master
lists it as attached; memory is the
resident set two seconds later.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.peers import Master, OurSlave, OwnSlave
from tests.peers.install import Kind

IDLE = 2.0


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process so far."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def resident_megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def measure(slave: OurSlave | OwnSlave, master: Master) -> dict[str, float]:
    """Start a slave, look at it, stop it."""
    with slave:
        master.wait_attached(slave.name)
        cpu = cpu_seconds(slave.process.pid)
        time.sleep(IDLE)
        memory = resident_megabytes(slave.process.pid)
    master.wait_detached(slave.name)
    return {"cpu_s": cpu, "rss_mb": memory}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--master", choices=("new", "old"), default="new")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kind: Kind = options.master
    rows: dict[str, list[dict[str, float]]] = {"ours": [], "own": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with Master(kind, folder / "master", ["hello"], slaves={"our": "pw", "own": "pw"}) as master:
            for run in range(options.runs):
                rows["ours"].append(measure(OurSlave(folder / f"our{run}", master, "our"), master))
                rows["own"].append(measure(OwnSlave(folder / f"own{run}", master, "own"), master))
    medians = {
        who: {key: statistics.median(row[key] for row in found) for key in found[0]} for who, found in rows.items()
    }
    if options.json:
        print(json.dumps({"master": kind, "runs": rows, "medians": medians}))
        return 0
    print(f"{options.runs} runs, medians; master {kind}")
    print(f"{'':20}{'ours':>10}{'own slave':>12}{'own / ours':>12}")
    for key, unit in (("cpu_s", "CPU to attached, s"), ("rss_mb", "resident, MB")):
        ours, own = medians["ours"][key], medians["own"][key]
        print(f"{unit:20}{ours:10.3f}{own:12.3f}{own / ours:12.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
