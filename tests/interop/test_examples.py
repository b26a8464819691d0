"""The examples do what they say, against a real master."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from slaveproto.testing.peers import Kind, RealBuilder, RealMaster, SlaveProgram
from slaveproto.testing.peers.processes import read_log

pytestmark = pytest.mark.peers

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / words[0]), *words[1:]], capture_output=True, text=True, timeout=120, check=False
    )


def test_pb_client_meets_the_master(master: RealMaster) -> None:
    """No slave answers, so the master refuses the login in the end; it has called before."""
    result = run("pb_client.py", "127.0.0.1", str(master.port), "our", "pw-our")
    assert result.returncode == 0, result.stderr
    assert "profile pb\ncalled: print" in result.stdout
    assert "LoginRefused" in result.stdout


def test_pb_client_with_a_wrong_password(master: RealMaster) -> None:
    result = run("pb_client.py", "127.0.0.1", str(master.port), "our", "wrong")
    assert result.returncode == 0, result.stderr
    assert "UnauthorizedLogin" in result.stdout
    assert "called:" not in result.stdout


@pytest.mark.parametrize("kind", ["new"], indirect=True)
def test_with_buildbot_master(kind: Kind) -> None:
    result = run("with_buildbot_master.py")
    assert result.returncode == 0, result.stderr
    assert "first-build #1 on slave our: success" in result.stdout


class OwnCommandSlave(SlaveProgram):
    """The example with a command of its own."""

    ready = r"Attached\("

    def create(self) -> None:
        self.directory.mkdir(parents=True)

    def command(self) -> Sequence[str]:
        where = [self.master.host, str(self.master.port), self.name, self.password, str(self.directory)]
        return [sys.executable, str(EXAMPLES / "own_command.py"), *where]

    def log(self) -> str:
        return read_log(self.directory / "stdio.log")


def test_a_command_of_ones_own(kind: Kind, tmp_path: Path) -> None:
    master = RealMaster(kind, tmp_path / "master", [RealBuilder("checksum", slaves=("our",))])
    with master, OwnCommandSlave(tmp_path / "slave", master, "our"):
        master.wait_attached("our")
        build = master.build("checksum")
    digest = hashlib.sha256("".join(f"{n}\n" for n in range(1, 300001)).encode()).hexdigest()
    sums, none, wrong = (step for step in build.steps if step.name.startswith("raw"))
    assert (sums.result, none.result, wrong.result) == ("success", "failure", "exception")
    assert sums.logs["stdio"]["stdout"].startswith(f"{digest}  ")
    assert "none: No such file or directory" in none.logs["stdio"]["stderr"]
    assert any("checksum is missing args: file" in text for log in wrong.logs.values() for text in log.values())
