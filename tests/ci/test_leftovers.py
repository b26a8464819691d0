"""What uploads leave when their master is killed: the next one removes it, and nothing else."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from slaveproto.ci import leftovers
from slaveproto.ci.store import Store
from slaveproto.effects import CreateTemp
from slaveproto.master.results import Result
from slaveproto.testing.conformance import wait_until
from tests.ci.test_master import master
from transports.host.files import perform

HEX = "0123456789ab"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["out", "x" * 100, "with.archive", "odd (name) [1]*"])
def test_only_what_is_left_of_the_upload_is_removed(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.write_text("an older result")
    made = [str(perform(CreateTemp(str(tmp_path / called)))) for called in (name, f"{name}.archive")]
    tree = tmp_path / f".{name[:40]}.{HEX}.part"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "file").touch()
    others = [f".{name[:40]}.{HEX}.part~", f".{name[:40]}.{HEX[1:]}.part", f".other.{HEX}.part", f"{name[:40]}.part"]
    for other in others:
        (tmp_path / other).touch()
    (tmp_path / f".{name[:40]}.{HEX[::-1].replace('9', 'a')}.part").symlink_to("out")
    kept = names(tmp_path) - {Path(path).name for path in made} - {tree.name}
    removed = leftovers.remove(str(target), time.time())
    assert set(removed) == {*made, str(tree)}
    assert names(tmp_path) == kept
    assert leftovers.remove(str(tmp_path / "none" / "x"), 0.0) == []


def test_what_was_there_before_the_step_stays(tmp_path: Path) -> None:
    temp = str(perform(CreateTemp(str(tmp_path / "out"))))
    assert leftovers.remove(str(tmp_path / "out"), time.time() + 60) == []
    assert leftovers.remove(str(tmp_path / "out"), time.time()) == [temp]


def test_targets_are_known_while_their_step_runs(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.add_request("b", "trigger", 1.0)
    build = store.begin_build("b", "ex", 1.0)
    store.begin_step(build, 1, "make", 1.0)
    store.begin_step(build, 2, "upload", 2.0, "/x/\udcff")
    store.begin_step(build, 3, "upload", 3.0, "/y")
    assert store.uploads() == [("/x/\udcff", 2.0), ("/y", 3.0)]
    store.end_step(build, 2, Result.SUCCESS, 0, "", 1.0)
    assert store.uploads() == [("/y", 3.0)]
    store.forget_uploads()
    assert store.uploads() == []
    store.close()


@pytest.mark.programs
def test_a_master_that_is_killed_in_an_upload(tmp_path: Path) -> None:
    """In small blocks, so that the upload takes its time."""
    text = (
        '[[builder]]\nname = "b"\n[[builder.step]]\nshell = "head -c 300000000 /dev/zero > big"\n'
        '[[builder.step]]\nupload = { src = "big", dest = "out/big", block_size = 4096 }\n'
    )
    out = tmp_path / "out"
    with master(tmp_path, text) as program:
        program.trigger("b")
        wait_until(lambda: out.exists() and any(out.iterdir()))
        program.stop(-signal.SIGKILL, number=signal.SIGKILL)
    (left,) = out.iterdir()
    assert left.name.endswith(".part")
    with master(tmp_path, text) as program:
        program.says(f"removed {left}, which an upload left that did not end")
        assert not left.exists()
        program.stop()
