"""Base directories that real programs made, taken over as they are: our slave builds for the masters of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from slaveproto.cli.tac import read_tac
from slaveproto.testing.peers import Attachable, Kind, OurSlave, RealMaster, SlaveKind, install, poll
from slaveproto.testing.peers.processes import environment
from tests.interop.available import require

pytestmark = pytest.mark.peers

MASTERS: Final[dict[SlaveKind, Kind]] = {
    "old": "old", "mid": "old", "new": "new", "worker-0.9.0": "new", "worker-2.10.5": "new",
}  # fmt: skip
"""The generation of the master that each belongs to."""

OPTIONS: Final[dict[SlaveKind, list[str]]] = {
    "old": ["--umask=022", "--maxdelay=5"],
    "mid": ["--umask=022", "--maxdelay=5", "--usepty=1", "--allow-shutdown=file"],
    "new": ["--umask=0o22", "--maxdelay=5", "--numcpus=3", "--maxretries=7", "--delete-leftover-dirs"],
    "worker-0.9.0": ["--umask=022", "--maxdelay=5"],
    "worker-2.10.5": ["--umask=022", "--maxdelay=5", "--numcpus=3", "--maxretries=7"],
}


def program_of(kind: SlaveKind) -> tuple[Path, str]:
    """Return the program of a kind of slave, and the subcommand that makes a base directory."""
    folder = install(kind).parent
    if kind in ("old", "mid"):
        return folder / "buildslave", "create-slave"
    return folder / "buildbot-worker", "create-worker"


class TakenOver(OurSlave):
    """Our slave in a base directory that a real program made.

    Args:
        kind: of that program.
        arguments: as for any `SlaveProgram`.
    """

    def __init__(self, directory: Path, master: Attachable, name: str, kind: SlaveKind) -> None:
        self.kind = kind
        super().__init__(directory, master, name)

    def create(self) -> None:
        program, subcommand = program_of(self.kind)
        master = f"{self.master.host}:{self.master.port}"
        run(
            [program, subcommand, *OPTIONS[self.kind], self.directory, master, self.name, self.password], self.directory
        )


def run(words: Sequence[Path | str], beside: Path, *, code: int = 0) -> str:
    """Run a program; return what it said."""
    done = subprocess.run(
        [str(word) for word in words], env=environment(beside.parent), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", MASTERS)
def test_a_base_directory_is_taken_over_as_it_is(kind: SlaveKind, tmp_path: Path) -> None:
    require(kind)
    require(MASTERS[kind])
    with RealMaster(MASTERS[kind], tmp_path / "master", ["first"], slaves={"ex": "pw"}) as master:
        slave = TakenOver(tmp_path / "slave", master, "ex", kind)
        tac = (slave.directory / "buildbot.tac").read_bytes()
        with slave:
            slave.wait_attached()
            assert master.build("first").result == "success"
            assert "nothing in it was run" in slave.log()
        found = read_tac(str(slave.directory), os.environ).settings
        assert (found["umask"], found["max_delay"]) == (0o22, 5)
        assert found.get("numcpus") == (3 if kind in ("new", "worker-2.10.5") else None)
        assert found.get("max_retries") == (7 if kind in ("new", "worker-2.10.5") else None)
        run([sys.executable, "-m", "slaveproto", "adopt", slave.directory], slave.directory)
        assert (slave.directory / "buildbot.tac").read_bytes() == tac
        with slave:
            slave.wait_attached(2)
            assert master.build("first").result == "success"
            assert slave.log().count("nothing in it was run") == 1


def test_a_running_slave_is_replaced_in_place(tmp_path: Path) -> None:
    require("old")
    require("mid")
    with RealMaster("old", tmp_path / "master", ["first"], slaves={"ex": "pw"}) as master:
        slave = TakenOver(tmp_path / "slave", master, "ex", "mid")
        program, _ = program_of("mid")
        run([program, "start", slave.directory], slave.directory)
        try:
            master.wait_attached("ex")
            assert master.build("first").result == "success"
            kept = {path for path in slave.directory.rglob("*") if path.is_dir()}
            told = run([sys.executable, "-m", "slaveproto", "slave", slave.directory], slave.directory, code=2)
            assert "Buildbot's slave runs there, process" in told
            assert told.count("\n") == 1
        finally:
            run([program, "stop", slave.directory], slave.directory)
        poll(lambda: not (slave.directory / "twistd.pid").exists(), 20, "the real slave ends")
        with slave:
            slave.wait_attached()
            assert master.build("first").result == "success"
        assert kept <= {path for path in slave.directory.rglob("*") if path.is_dir()}
