"""Secrets stay home: what is planted in each place is found in none of the files and arguments of our programs.

The slave's own working directory is left out: the values are used there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from slaveproto.testing.peers import Kind, OurMaster, OurSlave, RealMaster, RealSlave, Runner
from tests.interop.available import require
from tests.interop.canaries import MASKED, Canaries
from tests.interop.steps import Peer, is_real

OURS: Final[tuple[Peer, ...]] = ("ours-threads",)
REAL: Final[tuple[Peer, ...]] = ("old", "new")

PEERS: Final = [
    *(pytest.param(peer, marks=pytest.mark.programs) for peer in OURS),
    *(pytest.param(peer, marks=pytest.mark.peers) for peer in REAL),
]


def trigger(master: OurMaster, builder: str) -> str:
    call = [sys.executable, "-m", "slaveproto", "trigger", str(master.file), builder, "--wait"]
    return subprocess.run(call, capture_output=True, text=True, timeout=90, check=False).stdout


def our_slave(folder: Path, master: OurMaster | RealMaster, peer: Peer) -> OurSlave:
    runner: Runner = "threads" if peer == "ours-threads" else "trio"
    return OurSlave(folder / "slave", master, "ex", runner=runner)


@pytest.mark.parametrize("peer", PEERS)
def test_our_master(peer: Peer, tmp_path: Path) -> None:
    if is_real(peer):
        require(peer)
    canaries = Canaries.hatch()
    folder = tmp_path / "master"
    canaries.write(folder)
    master = OurMaster(folder, canaries.text())
    master.variables["VARIABLE"] = canaries.values["variable"]
    slave = (
        RealSlave(tmp_path / "slave", master, "ex", kind=peer) if is_real(peer) else our_slave(tmp_path, master, peer)
    )
    slave.variables["TOKEN"] = canaries.values["environment"]
    master.file.chmod(0o644)
    with master, slave:
        slave.wait_attached()
        arguments = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (master.pid, slave.pid)]
        for builder in ("b", "plain"):
            assert "success" in trigger(master, builder), master.log()
        assert "exception" in trigger(master, "unreadable"), master.log()
    state = folder / ".slaveproto"
    shown = "".join(path.read_text(errors="replace") for path in state.glob("logs/*/*"))
    assert [place for place in MASKED if f"<{place}>" not in shown] == []
    assert "OWN=shown" in shown
    assert "the secret unreadable cannot be read: sh ended with exit code 3" in master.log()
    assert "master.toml holds a password or a key" in master.log()
    places = [state, folder / "stdio.log"]
    if not is_real(peer):
        places.append(tmp_path / "slave" / "stdio.log")
    # A real slave tells its whole environment; our master shows none of it but in the headers of its commands.
    known = {"environment"} if is_real(peer) else set()
    assert [found for found in canaries.found_in(places) if found.split()[0] not in known] == []
    assert b"canary" not in b"".join(arguments)


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["old", "new"])
def test_a_real_master(kind: Kind, tmp_path: Path) -> None:
    """None of its files has a variable of our slave that it is not told."""
    require(kind)
    canaries = Canaries.hatch()
    with RealMaster(kind, tmp_path / "master", ["hello", "props"], slaves={"ex": "pw"}) as master:
        slave = our_slave(tmp_path, master, "ours-trio")
        slave.variables["TOKEN"] = canaries.values["environment"]
        with slave:
            master.wait_attached("ex")
            for builder in ("hello", "props"):
                assert master.build(builder).result == "success"
    assert canaries.found_in([tmp_path / "master", tmp_path / "slave" / "stdio.log"]) == []
