"""A slave of ours whose host lacks descriptors, at real masters: the build is an exception, not a failure."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest

from slaveproto.testing.peers import OurSlave, RealMaster

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes the limits of a process that runs"),
]


def test_a_step_that_cannot_be_started(master: RealMaster, tmp_path: Path) -> None:
    with OurSlave(tmp_path / "our", master, "our") as slave:
        master.wait_attached("our")
        assert master.build("hello").result == "success"
        limits = resource.prlimit(slave.pid, resource.RLIMIT_NOFILE)
        taken = {int(name) for name in os.listdir(f"/proc/{slave.pid}/fd")}
        least = next(number for number in range(len(taken) + 1) if number not in taken)
        resource.prlimit(slave.pid, resource.RLIMIT_NOFILE, (least, limits[1]))
        assert master.build("hello").result == "exception"
        resource.prlimit(slave.pid, resource.RLIMIT_NOFILE, limits)
        assert master.build("hello").result == "success"
