"""Descriptions of the machine, and the cost of a process (Linux)."""

from __future__ import annotations

import os
import platform
import resource
import time
from importlib import metadata
from pathlib import Path
from typing import Final

PACKAGES: Final = ("attrs", "trio", "Twisted", "msgpack")


def description() -> dict[str, object]:
    """Return what the machine is, but not which."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": cpu[0].partition(":")[2].strip() if cpu else platform.machine(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "peers": ["buildbot 4.3.0", "buildbot-worker 4.3.0", "buildbot 0.8.4p1", "buildslave 0.8.4"],
    }


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, with all threads that it had, without its children."""
    # Linux has a clock for each process; Python names only those of threads.
    return time.clock_gettime((~pid << 3) | 2)


def resident_kilobytes(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024
