"""Promise 1 with real peers: what is frozen is noticed, and what stood still goes on. With shorter times."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from slaveproto.testing.peers import Kind, OurMaster, OurSlave, RealMaster, RealSlave, SlaveKind, poll
from tests.interop.available import require

pytestmark = pytest.mark.peers

STILL: Final = 3.0
"""Seconds that peers stand still, of 5 that they may."""

KINDS: Final[tuple[SlaveKind, ...]] = ("old", "new")


def test_slaves_at_our_master(tmp_path: Path) -> None:
    text = '[master]\nlisten = "127.0.0.1:9989"\nkeepalive = 1\nsilence = 5\n[[builder]]\nname = "b"\n'
    text += "slaves = ['old', 'new', 'ours']\n[[builder.step]]\nshell = 'true'\n"
    text += "".join(f'[[slave]]\nname = "{name}"\npassword = "pw"\n' for name in (*KINDS, "ours"))
    for kind in KINDS:
        require(kind)
    with OurMaster(tmp_path / "master", text) as master, ExitStack() as stack:
        slaves = [
            *(RealSlave(tmp_path / kind, master, kind, kind=kind) for kind in KINDS),
            OurSlave(tmp_path / "ours", master, "ours"),
        ]
        for slave in slaves:
            stack.enter_context(slave)
        for slave in slaves:
            slave.wait_attached()
        for slave in slaves:
            slave.freeze()
        time.sleep(STILL)
        for slave in slaves:
            slave.thaw()
        time.sleep(STILL)
        assert "detached" not in master.log()
        for slave in slaves:
            slave.freeze()
        noticed = (
            "did not answer getVersion within 5 s|slave ours lost its link, its builds go on: no sign of life for 6 s"
        )
        poll(lambda: len(re.findall(noticed, master.log())) == 3, 12, "all are noticed")


@pytest.mark.parametrize("kind", ["old", "new"])
def test_real_masters_of_our_slave(kind: Kind, tmp_path: Path) -> None:
    require(kind)
    with RealMaster(kind, tmp_path / "master", ["interrupt"]) as master:
        slave = OurSlave(tmp_path / "slave", master, "our", keepalive=1)
        file = tmp_path / "slave" / "slaveproto.toml"
        file.write_text(file.read_text().replace("silence = 52", "silence = 5"))
        with slave:
            slave.wait_attached()
            master.freeze()
            time.sleep(STILL)
            master.thaw()
            time.sleep(STILL)
            assert "not connected" not in slave.log()
            master.freeze()
            slave.wait_log("the master said nothing for 5 s", 12)
