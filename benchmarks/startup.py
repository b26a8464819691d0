"""Row 6, what a slave costs before it does anything: ours beside Buildbot's own, attached to the same real master.

CPU time is that of the whole process from its start until it is attached, memory its resident set two seconds later.
Modules are those that Python has imported by then, counted in a run of their own.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs

from benchmarks.figures import OURS, Comparison, Figure, Options, in_turns, times_less
from benchmarks.machine import cpu_seconds, resident_kilobytes
from slaveproto.testing.peers import Kind, MatchingSlave, OurSlave, RealMaster, SlaveProgram, poll

OWN: Final[Mapping[Kind, str]] = {"new": "buildbot-worker 4.3.0", "old": "buildslave 0.8.4"}
VERSIONS: Final[Mapping[Kind, str]] = {"new": "4.3.0", "old": "0.8.4p1"}

TELL_MODULES: Final = """\
import signal, sys
signal.signal(signal.SIGUSR2, lambda *_: open("modules", "w").write("%d\\n" % len(sys.modules)))
"""


@attrs.frozen
class Cost:
    """What one start took.

    Args:
        cpu: seconds.
        memory: megabytes.
    """

    cpu: float
    memory: float


class _OurTellingSlave(OurSlave):
    def command(self) -> Sequence[str]:
        program = TELL_MODULES + "from slaveproto.cli import main; sys.exit(main())"
        return [sys.executable, "-c", program, "slave", str(self.directory)]


class _OwnTellingSlave(MatchingSlave):
    def create(self) -> None:
        super().create()
        tac = self.directory / "buildbot.tac"
        tac.write_text(TELL_MODULES + tac.read_text())


def cost(slave: SlaveProgram, master: RealMaster, idle: float) -> Cost:
    """Start a slave, look at it, stop it."""
    with slave:
        slave.wait_attached()
        cpu = cpu_seconds(slave.pid)
        time.sleep(idle)
        memory = resident_kilobytes(slave.pid) / 1024
    master.wait_detached(slave.name)
    return Cost(cpu, memory)


def modules(slave: SlaveProgram, master: RealMaster) -> float:
    """Start a slave and ask it how many modules it has imported."""
    with slave:
        slave.wait_attached()
        slave.process.send_signal(signal.SIGUSR2)
        told = slave.directory / "modules"
        count = poll(lambda: told.exists() and told.read_text(), 10, "the number of modules")
    master.wait_detached(slave.name)
    return float(count)


def rows(options: Options) -> Iterator[Figure]:
    """Row 6."""
    yield from _beside("new", options)
    if not options.smoke:
        yield from _beside("old", options)


def _beside(kind: Kind, options: Options) -> Iterator[Figure]:
    own = OWN[kind]
    numbers = iter(range(1000))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with RealMaster(kind, folder / "master", ["hello"], slaves={"our": "pw", "own": "pw"}) as master:

            def start(name: str, make: Callable[[Path, RealMaster, str], SlaveProgram]) -> Cost:
                slave = make(folder / f"{name}{next(numbers)}", master, name)
                return cost(slave, master, 0.1 if options.smoke else 2.0)

            found = in_turns(
                options.runs, {OURS: partial(start, "our", OurSlave), own: partial(start, "own", MatchingSlave)}
            )
            counts = {
                OURS: [modules(_OurTellingSlave(folder / "our", master, "our"), master)],
                own: [modules(_OwnTellingSlave(folder / "own", master, "own"), master)],
            }
    what = f"start of a slave, {VERSIONS[kind]} master"
    cpu = {who: [run.cpu for run in runs] for who, runs in found.items()}
    yield Figure(6, f"{what}: to attached", "CPU s", cpu, [times_less(own, 4)])
    memory = {who: [run.memory for run in runs] for who, runs in found.items()}
    half = Comparison(OURS, own, most=0.5) if kind == "new" else Comparison(OURS, own)
    yield Figure(6, f"{what}: resident memory", "MB", memory, [half])
    yield Figure(6, f"{what}: imported modules", "modules", counts, [Comparison(OURS, own)])
