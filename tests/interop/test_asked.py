"""What is asked of a build, on slaves of every generation: words, `git` and `got_revision`, conditions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slaveproto.testing.peers import OurBuilds
from tests.interop.available import require
from tests.interop.steps import PEERS, Peer, is_real
from tests.interop.test_our_master import slave_of, text_for

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("peer", PEERS)
def test_a_certain_build(peer: Peer, tmp_path: Path) -> None:
    if is_real(peer):
        require(peer)
    source = tmp_path / "source"
    script = (
        "git init -q -b main; git config user.name a; git config user.email a@example.org; echo '{}' > file; "
        "git add file; git commit -q -m one; git checkout -q -b feature/ü; git commit -q --allow-empty -m two; "
        "git rev-parse HEAD; git checkout -q main"
    )
    source.mkdir()
    done = subprocess.run(["sh", "-ec", script], cwd=source, capture_output=True, text=True, check=True)
    wanted = done.stdout.strip()
    text = text_for(peer, "asked.toml").replace("SOURCE", str(source))
    asked = ("--branch", "feature/ü", "--property", "odd=a 'b' $HOME \"☃\\", "--property", "dir=x/y")
    master = OurBuilds(tmp_path / "master", text, *asked)
    with master:
        if peer == "embedded":
            code, builds = master.wait()
        else:
            with slave_of(peer, tmp_path / "slave", master):
                code, builds = master.wait()
    build = builds["asked"]
    assert (code, build.result) == (0, "success")
    assert build.properties["got_revision"] == wanted
    assert build.step("words").logs["stdio"] == f"a 'b' $HOME \"☃\\|feature/ü|{wanted}\n"
    assert build.step("variables").logs["stdio"] == f"a 'b' $HOME \"☃\\|feature/ü|{wanted}|x/y\n"
    assert build.step("skipped").result == "skipped"
    assert (tmp_path / "master" / "up" / "x" / "y" / f"{wanted}.txt").read_text() == "{}\n"
