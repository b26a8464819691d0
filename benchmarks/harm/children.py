"""Commands that are ended in every way, and what survives them; a slave's host that has nothing left to give."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.harm.rows import KINDS, Row, Side
from slaveproto.master.results import Result
from slaveproto.testing.conformance.commands import ESCAPES, escaped
from slaveproto.testing.conformance.harness import is_alive
from slaveproto.testing.peers import OurMaster, OurSlave, RealSlave, SlaveProgram, poll

SETTLED: Final = 8.0
"""Seconds after which what still runs counts as a survivor."""

MASTER: Final = """
[master]
listen = "127.0.0.1:9989"
[[slave]]
name = "s1"
password = "pw"
[[builder]]
name = "b"
slaves = ["s1"]
[[builder.step]]
workdir = "."
shell = '''
{script}
'''
{limits}
"""


POLITE: Final = 'timeout = 2\nsigterm_time = 2\ninterrupt_signal = "INT"'


def attached(side: Side, folder: Path, master: OurMaster) -> SlaveProgram:
    """Return the slave of a side, not started yet."""
    if side is Side.OURS:
        return OurSlave(folder / "slave", master, "s1")
    return RealSlave(folder / "slave", master, "s1", kind=KINDS[side])


def survivors(end: Callable[[OurMaster, SlaveProgram], None], side: Side, folder: Path, *, limits: str = "") -> str:
    """Start every kind in one command, end that, and tell which of them still run.

    Args:
        end: ends it.
        side: whose slave it is.
        folder: for master and slave.
        limits: of the step, as the build file has them.
    """
    script = "\n".join([*ESCAPES.values(), "sleep 1000"])
    with OurMaster(folder / "master", MASTER.format(script=script, limits=limits)) as master:
        slave = attached(side, folder, master)
        pids: dict[str, int] = {}
        try:
            with slave:
                slave.wait_attached()
                _trigger(master)
                pids = poll(partial(escaped, slave.directory / "b"), 30, "all kinds have started")
                end(master, slave)
                with suppress(TimeoutError):
                    poll(lambda: not any(map(is_alive, pids.values())), SETTLED, "nothing is left")
                left = [kind for kind, pid in pids.items() if is_alive(pid)]
        finally:
            for pid in pids.values():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    return f"{len(left)} of {len(pids)}" + (f": {', '.join(left)}" if left else "")


def _trigger(master: OurMaster) -> None:
    call = [sys.executable, "-m", "slaveproto", "trigger", master.file.name, "b"]
    subprocess.run(call, cwd=master.directory, check=True, capture_output=True)


def _nothing(master: OurMaster, slave: SlaveProgram) -> None:
    """The step's limit does it."""


def _interrupt(master: OurMaster, slave: SlaveProgram) -> None:
    # SIGTERM would let the build end.
    master.interrupt()


def _lose(master: OurMaster, slave: SlaveProgram) -> None:
    master.kill()


def _stop(master: OurMaster, slave: SlaveProgram) -> None:
    slave.process.send_signal(slave.ending)


def _kill(master: OurMaster, slave: SlaveProgram) -> None:
    slave.kill()


def without_descriptors(side: Side, folder: Path) -> str:
    """Take away every free descriptor of a slave, run a step, give them back, and run it again."""
    with (
        OurMaster(folder / "master", MASTER.format(script="true", limits="")) as master,
        attached(side, folder, master) as slave,
    ):
        slave.wait_attached()
        first = _result(master)
        limits = resource.prlimit(slave.pid, resource.RLIMIT_NOFILE)
        taken = {int(name) for name in os.listdir(f"/proc/{slave.pid}/fd")}
        least = next(number for number in range(len(taken) + 1) if number not in taken)
        resource.prlimit(slave.pid, resource.RLIMIT_NOFILE, (least, limits[1]))
        without = _result(master)
        resource.prlimit(slave.pid, resource.RLIMIT_NOFILE, limits)
        return f"{without} (before: {first}, after: {_result(master)})"


def _result(master: OurMaster) -> str:
    call = [sys.executable, "-m", "slaveproto"]
    subprocess.run([*call, "trigger", "--wait", master.file.name, "b"], cwd=master.directory, capture_output=True)
    listed = subprocess.run(
        [*call, "builds", "-n", "1", master.file.name], cwd=master.directory, check=True, capture_output=True, text=True
    )
    words = listed.stdout.splitlines()[-1].split()
    return next(word for word in words if word in {result.word for result in Result})


def no_directory(side: Side, folder: Path) -> str:
    """Have a file where a builder's directory should be, and look for the reason in the slave's own log."""
    with OurMaster(folder / "master", MASTER.format(script="true", limits="")) as master:
        slave = attached(side, folder, master)
        (slave.directory / "b").write_text("in the way")
        with slave:
            time.sleep(SETTLED)
            told = [line for line in slave.log().splitlines() if "exists" in line.lower()]
            return f"{len(told)} lines tell: {told[0].strip() if told else slave.log().splitlines()[-1]}"


ROWS: Final[Sequence[Row]] = (
    Row(2, "survivors of a step that is interrupted", partial(survivors, _interrupt)),
    Row(2, "survivors of a step's timeout", partial(survivors, _nothing, limits="timeout = 2")),
    Row(2, "survivors of a timeout with SIGTERM first", partial(survivors, _nothing, limits=POLITE)),
    Row(2, "survivors of a lost link", partial(survivors, _lose)),
    Row(2, "survivors of a slave that is stopped (SIGINT, real ones SIGTERM)", partial(survivors, _stop)),
    Row(2, "survivors of a SIGKILL to the slave", partial(survivors, _kill)),
    Row(11, "a step while the slave has no descriptor left", without_descriptors),
    Row(11, "a builder's directory that cannot be made, in the slave's own log", no_directory),
)
