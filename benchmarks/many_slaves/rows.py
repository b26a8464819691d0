"""Row 7. The masters take turns with the same slaves, which come back by themselves: a storm each time."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from benchmarks.figures import OURS, Comparison, Figure, Options, in_turns, times_less
from benchmarks.many_slaves.fleet import KEEPALIVE, Report, Task
from slaveproto.testing.peers.processes import free_port

PB: Final = "Twisted PB"
MODULES: Final = {OURS: "ours", PB: "twisted_pb"}

COUNTS: Final = (100, 500, 2000)
SMOKE_COUNTS: Final = (3,)
BUSY: Final = 0.05
IDLE: Final = 10.0
PATIENCE: Final = 180.0
"""Seconds that one run of a master may take."""
PER_MINUTE: Final = "CPU ms per slave and minute"

COSTS: Final[tuple[tuple[str, str, Callable[[Report], float], float | None, bool], ...]] = (
    ("memory per slave", "KB", lambda report: report.memory, 3, True),
    ("attach storm", "CPU ms per slave", lambda report: report.attach_cpu, 5, True),
    ("attach storm, until all are attached", "s", lambda report: report.attach_wall, None, False),
    (f"idle, a sign of life each {KEEPALIVE:g} s", PER_MINUTE, lambda report: report.idle_cpu, 5, True),
    (f"{BUSY:.0%} build, 10 lines in 2 s each", PER_MINUTE, lambda report: report.busy_cpu, 5, True),
)
"""Figures of the row: text, unit, value, the factor by which ours should be less, and whether it must not grow."""


def _command(module: str, *words: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.many_slaves.{module}", *words]


def _run(module: str, task: Task) -> Report:
    done = subprocess.run(_command(module, *task.words), capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        raise RuntimeError(f"{module}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return Report(**json.loads(done.stdout))


def _reports(count: int, options: Options) -> dict[str, list[Report]]:
    task = Task(free_port(), count, max(1, int(count * BUSY)), 0.2 if options.smoke else IDLE)
    with tempfile.TemporaryDirectory() as folder:
        slaves = subprocess.Popen(_command("slaves", str(task.port), str(count), folder))
        try:
            return in_turns(options.runs, {who: partial(_run, module, task) for who, module in MODULES.items()})
        finally:
            slaves.terminate()
            slaves.wait()


def rows(options: Options) -> Iterator[Figure]:
    """Row 7."""
    counts = SMOKE_COUNTS if options.smoke else COUNTS
    reports = {count: _reports(count, options) for count in counts}
    for name, unit, cost, goal, flat in COSTS:
        figures = [
            Figure(
                7,
                f"{count} slaves: {name}",
                unit,
                {who: [cost(report) for report in theirs] for who, theirs in reports[count].items()},
                [times_less(PB, goal)],
                size=count,
            )
            for count in counts
        ]
        yield from figures
        if flat:
            growth = {who: [figures[-1].median(who) / figures[0].median(who)] for who in MODULES}
            what = f"{name}: {counts[-1]} slaves"
            yield Figure(7, what, f"times that of {counts[0]}", growth, [Comparison(OURS, None, most=1.1)])
