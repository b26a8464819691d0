"""Source commands, which only 0.8 has: our slave brings the same trees as the master's own one, with real programs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from slaveproto.testing.peers import BuildResult, MatchingSlave, OurSlave, RealBuilder, RealMaster, SlaveProgram, poll
from slaveproto.testing.peers.repositories import PROGRAMS, make_repositories, make_stand_ins, missing
from tests.interop.available import require, require_programs
from tests.interop.compare import OURS, SOURCE_BUILDERS, mismatches

pytestmark = pytest.mark.peers

MENDED = "mended"


@dataclass(frozen=True)
class Site:
    """A real master with its own slave and two of ours, and a build of every builder on each."""

    root: Path
    master: RealMaster
    slaves: Mapping[str, SlaveProgram]
    builds: Mapping[str, BuildResult]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require("old")
    root = tmp_path_factory.mktemp("sources")
    names = ("own", *OURS)
    make_repositories(root / "repositories", names)
    make_stand_ins(root / "programs")
    systems = [name for name in SOURCE_BUILDERS if name not in PROGRAMS or missing(name) is None]
    if all(missing(name) is None for name in ("git", "svn", "bzr")):
        systems.append(MENDED)
    builders = [RealBuilder(f"{slave}-{name}", name, (slave,)) for name in systems for slave in names]
    builders += [RealBuilder(f"{slave}-hanging", "hanging", (slave,)) for slave in OURS]
    passwords = {name: f"pw-{name}" for name in names}
    master = RealMaster("old", root / "master", builders, slaves=passwords, repositories=root / "repositories")
    with ExitStack() as stack:
        stack.enter_context(master)
        slaves: dict[str, SlaveProgram] = {"own": MatchingSlave(root / "own", master, "own")}
        slaves |= {name: OurSlave(root / name, master, name, runner=runner) for name, runner in OURS.items()}
        for name, slave in slaves.items():
            slave.programs = root / "programs"
            # Nowadays Git does not bring submodules from the same machine unless it is told that it may.
            (slave.directory / "home").mkdir(exist_ok=True)
            (slave.directory / "home" / ".gitconfig").write_text('[protocol "file"]\n\tallow = always\n')
            stack.enter_context(slave)
            master.wait_attached(name)
        wanted = [builder.name for builder in builders if builder.catalog != "hanging"]
        yield Site(root, master, slaves, master.build_all(wanted, at_once=6, timeout=300))


@pytest.fixture(params=list(OURS), ids=list(OURS.values()))
def our(request: pytest.FixtureRequest) -> str:
    """The name of one of our slaves."""
    name: str = request.param
    return name


@pytest.mark.parametrize("system", SOURCE_BUILDERS)
def test_same_trees_and_logs(system: str, our: str, site: Site) -> None:
    if system in PROGRAMS:
        require_programs(system)
    own, ours = site.builds[f"own-{system}"], site.builds[f"{our}-{system}"]
    assert (own.slave, ours.slave) == ("own", our)
    assert own.result == "success"
    assert not (text := mismatches("old", system, own, ours)), text


def test_what_the_own_slave_gets_wrong(our: str, site: Site) -> None:
    """Each of these is a row of docs/differences-slave.md."""
    require_programs("git", "svn", "bzr")
    own, ours = (facts_of(site.builds[f"{slave}-{MENDED}"]) for slave in ("own", our))
    # It does not wait until the tree of the last try is removed: each repetition may find it in its way.
    assert own.pop("git-retry") in (("failure", 128, 3), *(("exception", None, times) for times in (1, 2, 3)))
    assert own == {
        "patch-below": ("failure", 2, 0),
        "no-branch": ("failure", 128, 2),
        "svn-retry": ("failure", 1, 3),
        "export-none": ("exception", None, 0),
        "partial": ("success", 0, 0),
        "export": ("success", 0, 0),
        "export-again": ("success", 0, 0),
        "attached": ("success", 0, 0),
        "detached": ("success", 0, 2),
    }
    assert ours == {
        **own,
        "patch-below": ("success", 0, 0),
        "no-branch": ("failure", -1, 0),
        "git-retry": ("failure", 128, 2),
        "svn-retry": ("failure", 1, 2),
        "export-none": ("failure", 1, 0),
        "detached": ("success", 0, 0),
    }
    steps = {step.name: step for step in site.builds[f"{our}-{MENDED}"].steps}
    assert "./sub/other: other/more/\n" in steps["shell"].logs["stdio"]["stdout"]
    revisions = {
        name: "".join(re.findall(r"'got_revision', \[(.*?)\]", steps[name].logs["updates"]["stdout"]))
        for name in ("partial", "export", "export-again")
    }
    assert revisions == {"partial": "3", "export": "2", "export-again": "2"}
    assert "export-temp" not in steps["shell_2"].logs["stdio"]["stdout"]


def facts_of(build: BuildResult) -> dict[str, tuple[str | None, int | None, int]]:
    """Return the result, the return code and the number of repetitions of each source command."""
    facts = {}
    for step in build.steps:
        if not step.name.startswith("shell"):
            header = step.logs["stdio"]["header"]
            codes = re.findall(r"program finished with exit code (-?\d+)", header)
            facts[step.name] = (step.result, int(codes[-1]) if codes else None, header.count("trying "))
    return facts


def test_interrupted(our: str, site: Site) -> None:
    """Unlike the own slave, ours says with a return code how it ended, and leaves no process behind."""
    token = site.master.force(f"{our}-hanging")
    slave = site.slaves[our]
    poll(lambda: any("sleep" in words for words in slave.step_processes().values()), 20, "the program hangs")
    site.master.stop_build(f"{our}-hanging")
    build = site.master.wait(token)
    (step,) = build.steps
    header = step.logs["stdio"]["header"]
    assert "\ncommand interrupted, attempting to kill\n" in header
    assert "program finished with exit code -1\n" in header
    poll(lambda: not slave.step_processes(), 5, "the processes are gone")


def test_a_tree_of_the_own_slave_is_updated(site: Site, tmp_path: Path) -> None:
    """Whoever changes from the own slave to ours keeps the base directory, and every tree in it."""
    systems = [name for name in ("git", "svn", "hg", "cvs", "bzr", "darcs") if missing(name) is None]
    builders = [RealBuilder(f"own-{name}", f"{name}_once", ("own",)) for name in systems]
    slaves = {"own": "pw"}
    repositories = site.root / "repositories"
    with RealMaster("old", tmp_path / "master", builders, slaves=slaves, repositories=repositories) as master:
        with MatchingSlave(tmp_path / "base", master, "own") as own:
            master.wait_attached("own")
            before = master.build_all([builder.name for builder in builders], at_once=6, timeout=60)
            own.stop()
        master.wait_detached("own")
        shutil.move(tmp_path / "base", tmp_path / "before")
        with OurSlave(tmp_path / "base", master, "own"):
            master.wait_attached("own")
            for builder in builders:
                shutil.rmtree(tmp_path / "base" / builder.name, ignore_errors=True)
                shutil.move(tmp_path / "before" / builder.name, tmp_path / "base" / builder.name)
            after = master.build_all([builder.name for builder in builders], at_once=6, timeout=60)
    for name, build in before.items():
        assert [step.result for step in build.steps] == ["success"], name
        assert "removing" not in after[name].steps[0].logs["stdio"]["header"], name
        assert [step.result for step in after[name].steps] == ["success"], name
