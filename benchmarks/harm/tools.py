"""Tools on damaged trees, removals that are cut short, directories with odd entries, transfers that stand still."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.harm.rows import KINDS, Row, Side
from slaveproto.testing.peers import Kind, MatchingSlave, OurMaster, OurSlave, RealBuilder, RealMaster, RealSlave, poll
from slaveproto.testing.peers.repositories import make_repositories
from slaveproto.testing.peers.slaves import SlaveProgram

OLD_SIDES: Final = (Side.OURS, Side.OLD)
NAME: Final = "s1"

MASTER: Final = """
[master]
listen = "127.0.0.1:9989"
[[slave]]
name = "s1"
password = "pw"
[[builder]]
name = "b"
slaves = ["s1"]
"""


# -- promise 12


@contextmanager
def _sources(side: Side, folder: Path, system: str, around: str) -> Iterator[tuple[RealMaster, SlaveProgram, Path]]:
    """Repositories, a real master with a builder `b` that has a source step, and a slave inside of another tree."""
    make_repositories(folder / "repositories", [NAME])
    subprocess.run(["sh", "-ec", around], cwd=folder, check=True, capture_output=True)
    catalog = f"{system}_step" if side is Side.NEW else f"{system}_once"
    master = RealMaster(
        KINDS.get(side, "old"),
        folder / "master",
        [RealBuilder("b", catalog)],
        slaves={NAME: "pw"},
        repositories=folder / "repositories",
    )
    with master:
        make = OurSlave if side is Side.OURS else MatchingSlave
        with make(folder / "around" / "slave", master, NAME) as slave:
            master.wait_attached(NAME)
            yield master, slave, folder / "around" / "slave" / "b" / "build"


def climb(system: str, around: str, damage: str, side: Side, folder: Path) -> str:
    """Damage a tree inside of another one, update it, and tell what became of both."""
    around = around.format(root=folder / "repositories" / "original")
    with _sources(side, folder, system, around) as (master, _, tree):
        master.build("b")
        first, other = (folder / "around" / name for name in ("file", "sub/other"))
        before = first.read_bytes(), other.read_bytes()
        for path in tree.glob(damage):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (tree / "file").unlink()
        result = master.build("b").steps[-1].result
        moved = "moved" if (first.read_bytes(), other.read_bytes()) != before else "untouched"
        brought = "brought anew" if (tree / "file").exists() else "not brought"
    return f"the tree around is {moved}, the own one {brought}; {result}"


def unreachable(side: Side, folder: Path) -> str:
    """Take the repository away, and tell whether an update costs the tree."""
    with _sources(side, folder, "git", "mkdir around") as (master, _, tree):
        master.build("b")
        repository = folder / "repositories" / NAME / "git"
        repository.rename(repository.with_name("away"))
        result = master.build("b").steps[-1].result
        there = "stays" if (tree / "file").exists() else "is lost"
    return f"the tree {there}; {result}"


def cut_removal(side: Side, folder: Path) -> str:
    """Kill everything in the middle of a removal, and tell what has the name of the tree."""
    step = '[[builder.step]]\nworkdir = "."\nrmdir = "build"\n'
    with OurMaster(folder / "master", MASTER + step) as master, _slave_of(side, folder, master) as slave:
        slave.wait_attached()
        tree = slave.directory / "b" / "build"
        for number in range(200):
            (tree / str(number)).mkdir(parents=True)
            for name in range(200):
                (tree / str(number) / str(name)).touch()
        _trigger(master)
        while tree.exists() and len(os.listdir(tree)) == 200:
            # Not `poll`: that would be too late.
            pass
        slave.kill()
        slave.end_steps()
        left = len(os.listdir(tree)) if tree.exists() else 0
    return f"{left} of 200 directories under the name of the tree"


# -- promise 13


def odd_directory(side: Side, folder: Path) -> str:
    """Upload a directory with odd entries from a slave to the master of its kind, and tell what arrives."""
    if side is Side.OURS:
        step = '[[builder.step]]\nupload_dir = { src = "data", dest = "out" }\n'
        with OurMaster(folder / "master", MASTER + step) as ours, _slave_of(side, folder, ours) as slave:
            slave.wait_attached()
            sockets = _make_odd(slave.directory / "b" / "build" / "data")
            _trigger(ours)
            poll(lambda: "on slave s1: " in ours.log().split("started")[-1], 60, "the build is over")
            result, out = ours.log().split()[-1], ours.directory / "out"
    else:
        kind: Kind = "new" if side is Side.NEW else "old"
        real = RealMaster(kind, folder / "master", [RealBuilder("b", "updir")], slaves={NAME: "pw"})
        with real as master, MatchingSlave(folder / "slave", master, NAME) as slave:
            master.wait_attached(NAME)
            sockets = _make_odd(slave.directory / "b" / "build" / "data")
            out = master.directory / "files" / "b" / "data"
            try:
                result = master.build("b", 30).result
            except TimeoutError:
                result = "not over within 30 s"
    sockets.close()
    arrived = [name for name in GOOD if (out / name).exists()]
    return f"{len(arrived)} of {len(GOOD)} files arrive; {result}"


GOOD: Final = ("a", "sub/b", "sub/caf\udce9", "z")


def _make_odd(data: Path) -> socket.socket:
    """Files, and a fifo, a socket and an absolute link between them."""
    (data / "sub").mkdir(parents=True)
    for name in GOOD:
        (data / name).write_text("good\n")
    os.mkfifo(data / "fifo")
    (data / "link").symlink_to("/etc/passwd")
    listening = socket.socket(socket.AF_UNIX)
    before = os.getcwd()
    # The path of a socket is limited to about 100 bytes.
    os.chdir(data)
    listening.bind("socket")
    os.chdir(before)
    return listening


# -- promise 14


def frozen_upload(side: Side, folder: Path) -> str:
    """Freeze the slave in the middle of an upload with a limit, and tell how long the step goes on."""
    step = '[[builder.step]]\nname = "up"\nupload = { src = "data", dest = "out" }\ntimeout = 5\n'
    with OurMaster(folder / "master", MASTER + step) as master, _slave_of(side, folder, master) as slave:
        slave.wait_attached()
        data = slave.directory / "b" / "build" / "data"
        data.parent.mkdir(parents=True)
        data.touch()
        os.truncate(data, 8 * 1024**3)
        _trigger(master)
        poll(lambda: list(master.directory.glob(".out.*.part")), 30, "the upload has begun")
        slave.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        try:
            poll(lambda: "step 1, up: " in master.log(), 60, "the step is over")
        finally:
            slave.process.send_signal(signal.SIGCONT)
        return f"{time.monotonic() - began:.0f} s; {master.log().split('step 1, up: ')[1].splitlines()[0]}"


def _slave_of(side: Side, folder: Path, master: OurMaster) -> SlaveProgram:
    if side is Side.OURS:
        return OurSlave(folder / "slave", master, NAME)
    return RealSlave(folder / "slave", master, NAME, kind=KINDS[side])


def _trigger(master: OurMaster) -> None:
    call = [sys.executable, "-m", "slaveproto", "trigger", master.file.name, "b"]
    subprocess.run(call, cwd=master.directory, check=True, capture_output=True)


GIT_AROUND: Final = "git clone -q {root}/git around; git -C around reset -q --hard first; echo edit > around/sub/other"
BZR_AROUND: Final = "bzr checkout -q -r 1 {root}/bzr around"
DARCS_AROUND: Final = "darcs get -q --context {root}/darcs-context {root}/darcs around"

ROWS: Final[Sequence[Row]] = (
    Row(12, "git, `.git/HEAD` gone", partial(climb, "git", GIT_AROUND, ".git/HEAD")),
    Row(12, "bzr, `.bzr/branch-format` gone", partial(climb, "bzr", BZR_AROUND, ".bzr/branch-format"), OLD_SIDES),
    Row(12, "darcs, `_darcs/format` gone", partial(climb, "darcs", DARCS_AROUND, "_darcs/format"), OLD_SIDES),
    Row(12, "git, the repository is gone at an update", unreachable),
    Row(13, "upload of a directory with a fifo, a socket, an absolute link, a name that is no UTF-8", odd_directory),
    Row(14, "a slave is frozen in an upload with `timeout = 5`: the step goes on for", frozen_upload),
    Row(12, "all is killed in the middle of `rmdir`", cut_removal),
)
