"""Masters and slaves by what people call them, and what row 4, 5 and 8 need of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.machine import cpu_seconds
from slaveproto.testing.peers import Attachable, OurMaster, OurSlave, RealSlave, SlaveProgram
from slaveproto.testing.peers.our_master import EXAMPLE_LISTEN

OUR_SLAVE: Final = "our slave"
OUR_MASTER: Final = "our master"
NEW_SLAVE: Final = "worker 4.3.0"
NEW_MASTER: Final = "4.3.0 master"
OLD_SLAVE: Final = "buildslave 0.8.4"
OLD_MASTER: Final = "0.8.4p1 master"

PASSWORD: Final = "pw"


def make_slave(kind: str, directory: Path, door: Attachable, name: str) -> SlaveProgram:
    """Make a slave of one of the kinds above, which runs when entered."""
    if kind == OUR_SLAVE:
        return OurSlave(directory, door, name)
    return RealSlave(directory, door, name, kind="new" if kind == NEW_SLAVE else "old")


def our_master(directory: Path, slaves: Sequence[str], builder: str, steps: Sequence[str]) -> OurMaster:
    """Make our master program with a builder of shell commands for each slave, `BUILDER-SLAVE`."""
    text = f"[master]\n{EXAMPLE_LISTEN}\n"
    for slave in slaves:
        text += f'[[slave]]\nname = "{slave}"\npassword = "{PASSWORD}"\n'
        text += f'[[builder]]\nname = "{builder}-{slave}"\nslaves = ["{slave}"]\n'
        for step in steps:
            text += f'[[builder.step]]\nshell = "{step}"\nlog_environ = false\n'
    return OurMaster(directory, text)


def trigger(master: OurMaster, builder: str, *options: str) -> None:
    """Ask our master for a build; raises CalledProcessError if it refuses, or if we are to wait and the build fails."""
    command = [sys.executable, "-m", "slaveproto", "trigger", *options, master.file.name, builder]
    subprocess.run(command, cwd=master.directory, check=True, capture_output=True, timeout=60)


def wait_idle(pids: Sequence[int], timeout: float = 60.0) -> None:
    """Wait until processes use (nearly) no CPU time any more."""
    end = time.monotonic() + timeout
    used = -1.0
    while (now := sum(map(cpu_seconds, pids))) - used > 0.01:
        if time.monotonic() > end:
            raise TimeoutError(f"processes are still busy after {timeout} s")
        used = now
        time.sleep(0.3)
