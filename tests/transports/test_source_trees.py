"""Source commands with real programs, in a slave whose base directory lies in another tree of that system."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import pytest

from slaveproto.testing.conformance import MasterSocket, SocketMaster
from slaveproto.testing.conformance.harness import Lab
from slaveproto.testing.peers.repositories import make_repositories, missing
from tests.transports.support import Threaded

pytestmark = pytest.mark.programs

BASE = "around/bot"
"""The slave's base directory."""


@attrs.frozen
class System:
    """A system with repositories of a first and a second revision.

    Args:
        arguments: of its source command, from the path of the repositories.
        around: the commands that make a tree of the first revision, which an update would change.
        damages: things to remove or empty of the slave's tree.
    """

    arguments: Callable[[Path], dict[str, str]]
    around: Sequence[str]
    damages: Sequence[str]


KINDS: Mapping[str, System] = {
    "git": System(
        lambda root: {"repourl": str(root / "git"), "branch": "master"},
        ["git clone -q {root}/git around", "git -C around reset -q --hard first"],
        [".git/HEAD", ".git/objects"],
    ),
    "svn": System(
        lambda root: {"svnurl": f"file://{root}/svn/trunk"},
        ["svn -q checkout -r 2 file://{root}/svn/trunk around"],
        [".svn/*"],
    ),
    "hg": System(
        lambda root: {"repourl": str(root / "hg")},
        ["hg -q clone -u 0 {root}/hg around"],
        [".hg/requires"],
    ),
    "bzr": System(
        lambda root: {"repourl": str(root / "bzr")},
        ["bzr checkout -q -r 1 {root}/bzr around"],
        [".bzr/branch-format"],
    ),
    "darcs": System(
        lambda root: {"repourl": str(root / "darcs")},
        ["darcs get -q --context {root}/darcs-context {root}/darcs around"],
        ["_darcs/format"],
    ),
}


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repositories")
    make_repositories(root, [])
    return root / "original"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(folder / ".gitconfig"))
    return folder


def surroundings(system: str, repositories: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Make the tree around, with a change in it, and return what is in it."""
    for command in KINDS[system].around:
        subprocess.run(command.format(root=repositories).split(), cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "around" / "sub" / "other").write_text("precious\n")
    return files_of(tmp_path / "around")


def files_of(folder: Path) -> Iterator[tuple[str, str]]:
    for name in ("file", "new", "sub/other", ".git/HEAD", ".git/refs/heads/master", ".hg/dirstate"):
        with_name = folder / name
        yield name, with_name.read_bytes().decode("latin-1") if with_name.exists() else "none"


def bring(master: SocketMaster, system: str, repositories: Path, **more: object) -> tuple[object, str]:
    """Run the source command; return its code and what its log says."""
    arguments = {"workdir": "build", "mode": "update", "logEnviron": False, **KINDS[system].arguments(repositories)}
    step = master.finish(master.begin("b", system, {**arguments, **more}))
    return step.rc, step.output("header")


@pytest.mark.parametrize(("system", "damage"), [(name, part) for name in KINDS for part in KINDS[name].damages])
@pytest.mark.usefixtures("home")
def test_a_damaged_tree_leaves_the_tree_around_alone(
    system: str, damage: str, listener: MasterSocket, repositories: Path, tmp_path: Path
) -> None:
    if missing(system):
        pytest.skip(f"no {system}")
    before = list(surroundings(system, repositories, tmp_path))
    (tmp_path / BASE).mkdir()
    with Lab(tmp_path / BASE, listener, Threaded).attached() as (_, master):
        assert bring(master, system, repositories)[0] == 0
        tree = tmp_path / BASE / "b" / "build"
        good = list(files_of(tree))[:3]
        assert good[0] == ("file", "one\ntwo\n")
        for path in list(tree.glob(damage)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        rc, header = bring(master, system, repositories)
        assert rc == 0, header
        assert list(files_of(tree))[:3] == good, header
    assert list(files_of(tmp_path / "around")) == before


@pytest.mark.parametrize("system", ["git", "svn", "darcs"])
@pytest.mark.usefixtures("home")
def test_a_repository_that_is_gone_costs_no_tree(
    system: str, listener: MasterSocket, repositories: Path, tmp_path: Path
) -> None:
    if missing(system):
        pytest.skip(f"no {system}")
    shutil.copytree(repositories, tmp_path / "own", symlinks=True)
    (tmp_path / "bot").mkdir()
    with Lab(tmp_path / "bot", listener, Threaded).attached() as (_, master):
        assert bring(master, system, tmp_path / "own")[0] == 0
        (tmp_path / "bot" / "b" / "build" / "mark").touch()
        (tmp_path / "own").rename(tmp_path / "away")
        rc, header = bring(master, system, tmp_path / "own")
        assert rc != 0
        assert "the repository does not answer; the tree stays as it is" in header
        assert (tmp_path / "bot" / "b" / "build" / "mark").exists()
        (tmp_path / "away").rename(tmp_path / "own")
        assert bring(master, system, tmp_path / "own")[0] == 0
        assert "removing" not in header


@pytest.mark.usefixtures("home")
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a tree to another user")
def test_a_tree_that_is_another_users_stays(listener: MasterSocket, repositories: Path, tmp_path: Path) -> None:
    (tmp_path / "bot").mkdir()
    with Lab(tmp_path / "bot", listener, Threaded).attached() as (_, master):
        assert bring(master, "git", repositories)[0] == 0
        tree = tmp_path / "bot" / "b" / "build"
        for path in (tree, tree / ".git"):
            os.chown(path, 12345, 12345)
        rc, header = bring(master, "git", repositories)
        assert (rc, "removing" in header) == (-1, False)
        assert (tree / "file").exists()
