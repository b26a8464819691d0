"""The examples do what they say, against a real master."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import Kind, Master

pytestmark = pytest.mark.peers

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / words[0]), *words[1:]], capture_output=True, text=True, timeout=120, check=False
    )


def test_pb_client_meets_the_master(master: Master) -> None:
    """No slave answers, so the master refuses the login in the end; it has called before."""
    result = run("pb_client.py", "127.0.0.1", str(master.port), "our", "pw-our")
    assert result.returncode == 0, result.stderr
    assert "profile pb\ncalled: print" in result.stdout
    assert "LoginRefused" in result.stdout


def test_pb_client_with_a_wrong_password(master: Master) -> None:
    result = run("pb_client.py", "127.0.0.1", str(master.port), "our", "wrong")
    assert result.returncode == 0, result.stderr
    assert "UnauthorizedLogin" in result.stdout
    assert "called:" not in result.stdout


@pytest.mark.parametrize("kind", ["new"], indirect=True)
def test_with_buildbot_master(kind: Kind) -> None:
    result = run("with_buildbot_master.py")
    assert result.returncode == 0, result.stderr
    assert "first-build #1 on slave our: success" in result.stdout
