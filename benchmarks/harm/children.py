"""Commands that are ended in every way, and what survives them; a slave's host that has nothing left to give."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.harm.rows import Row, Side
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
    return RealSlave(folder / "slave", master, "s1", kind="new" if side is Side.NEW else "old")


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
    master.process.send_signal(signal.SIGTERM)


def _lose(master: OurMaster, slave: SlaveProgram) -> None:
    master.kill()


def _term(master: OurMaster, slave: SlaveProgram) -> None:
    slave.process.send_signal(signal.SIGTERM)


def _kill(master: OurMaster, slave: SlaveProgram) -> None:
    slave.kill()


ROWS: Final[Sequence[Row]] = (
    Row(2, "survivors of a step that is interrupted", partial(survivors, _interrupt)),
    Row(2, "survivors of a step's timeout", partial(survivors, _nothing, limits="timeout = 2")),
    Row(2, "survivors of a timeout with SIGTERM first", partial(survivors, _nothing, limits=POLITE)),
    Row(2, "survivors of a lost link", partial(survivors, _lose)),
    Row(2, "survivors of a SIGTERM to the slave", partial(survivors, _term)),
    Row(2, "survivors of a SIGKILL to the slave", partial(survivors, _kill)),
)
