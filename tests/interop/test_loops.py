"""The examples for loops of one's own, with real peers: two slaves with a real master, a master with real slaves."""

from __future__ import annotations

import re
import signal
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from slaveproto.testing.peers import (
    BuildResult,
    OurSlave,
    RealBuilder,
    RealMaster,
    RealSlave,
    SlaveKind,
    SlaveProgram,
    poll,
)
from slaveproto.testing.peers.processes import Program, free_port, read_log
from tests.interop.available import require
from tests.interop.compare import facts

pytestmark = pytest.mark.peers

EXAMPLES = Path(__file__).parents[2] / "examples"

# Names of one length, as in compare.py.
LOOPS = {"asy": "asyncio_slave.py", "sel": "selectors_slave.py"}
BUILDERS = ("hello", "shell", "pty", "timeout", "upload", "interrupt")


class ExampleSlave(SlaveProgram):
    """One of the examples that are slaves."""

    ready = r"Attached\("

    def create(self) -> None:
        self.directory.mkdir(parents=True)

    def command(self) -> Sequence[str]:
        where = [self.master.host, str(self.master.port), self.name, self.password, str(self.directory)]
        return [sys.executable, str(EXAMPLES / LOOPS[self.name]), *where]

    def log(self) -> str:
        return read_log(self.directory / "stdio.log")


class ExampleMaster(Program):
    """The example that is a master; ends by itself.

    Args:
        directory: where it runs; made.
        target: where it puts what it builds.
    """

    host = "127.0.0.1"
    output_file = "output"

    def __init__(self, directory: Path, target: Path) -> None:
        super().__init__(directory)
        directory.mkdir()
        self.port = free_port()
        self.slaves: Mapping[str, str] = {"ex": "pw"}
        self.target = target

    def command(self) -> Sequence[str]:
        where = [self.host, str(self.port), "ex", self.slaves["ex"], str(self.target)]
        return [sys.executable, str(EXAMPLES / "asyncio_master.py"), *where]

    def log(self) -> str:
        return read_log(self.directory / "stdio.log")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        super().start()
        poll(lambda: "listening" in self.log() or not self.running, 20, "the example listens")


# -- slaves


@dataclass(frozen=True)
class Site:
    """A real master with three slaves of ours, and a build of every builder on each."""

    master: RealMaster
    slaves: Mapping[str, SlaveProgram]
    builds: Mapping[str, BuildResult]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require("new")
    root = tmp_path_factory.mktemp("loops")
    names = ("our", *LOOPS)
    builders = [RealBuilder(f"{slave}-{name}", name, (slave,)) for name in BUILDERS for slave in names]
    with ExitStack() as stack:
        passwords = {name: f"pw-{name}" for name in names}
        master = stack.enter_context(RealMaster("new", root / "master", builders, slaves=passwords))
        slaves: dict[str, SlaveProgram] = {"our": OurSlave(root / "our", master, "our")}
        slaves |= {name: ExampleSlave(root / name, master, name) for name in LOOPS}
        for name, slave in slaves.items():
            stack.enter_context(slave)
            master.wait_attached(name)
        builds = master.build_all([b.name for b in builders if b.catalog != "interrupt"], at_once=9, timeout=60)
        tokens = {f"{name}-interrupt": master.force(f"{name}-interrupt") for name in names}
        for slave in slaves.values():
            wait_for_sleep(slave)
        for builder in tokens:
            master.stop_build(builder)
        builds |= {builder: master.wait(token) for builder, token in tokens.items()}
        for slave in slaves.values():
            poll(lambda slave=slave: not slave.step_processes(), 5, "the step is gone")  # type: ignore[misc]
        yield Site(master, slaves, builds)


def wait_for_sleep(slave: SlaveProgram) -> None:
    """Wait until a step of a slave has come to its ``sleep``."""
    poll(
        lambda: any(words.startswith("sleep") for words in slave.step_processes().values()),
        15,
        f"a step on {slave.name} sleeps",
    )


def shown(build: BuildResult, builder: str) -> dict[str, str]:
    """What the master stored of a build, with the name of the slave left out."""
    return {where: re.sub(r"\b(?:asy|sel)\b", "SLAVE", text) for where, text in facts(builder, build).items()}


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("slave", LOOPS)
def test_same_build_as_with_threads(site: Site, slave: str, builder: str) -> None:
    build = site.builds[f"{slave}-{builder}"]
    assert build.slave == slave
    assert shown(build, builder) == shown(site.builds[f"our-{builder}"], builder)


@pytest.mark.parametrize("slave", LOOPS)
def test_ctrl_c_in_a_build(site: Site, slave: str) -> None:
    running = site.slaves[slave]
    site.master.force(f"{slave}-interrupt")
    wait_for_sleep(running)
    running.process.send_signal(signal.SIGINT)
    assert running.wait_exit(10) == 0
    poll(lambda: not running.step_processes(), 2, "the step is gone")
    site.master.wait_detached(slave)
    assert "Traceback" not in running.log()


# -- the master


@pytest.mark.parametrize("kind", ["old", "mid", "new"])
def test_master_builds_on_a_real_slave(kind: SlaveKind, tmp_path: Path) -> None:
    require(kind)
    with (
        ExampleMaster(tmp_path / "master", tmp_path / "artifacts") as master,
        RealSlave(tmp_path / "slave", master, "ex", kind=kind),
    ):
        assert master.wait_exit(30) == 0, master.log()
    assert "build: success" in master.log()
    assert "\nprogram.py\nprogram finished with exit code 0\n" in (master.directory / "output").read_text()
    with tarfile.open(tmp_path / "artifacts" / "program.tar.gz") as package:
        program = package.extractfile("program.py")
        assert program is not None
        assert program.read() == (EXAMPLES / "asyncio_master.py").read_bytes()


def test_master_tells_of_a_step_that_went_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        ExampleMaster(tmp_path / "master", tmp_path / "file" / "artifacts") as master,
        OurSlave(tmp_path / "slave", master, "ex"),
    ):
        assert master.wait_exit(30) == 1
    assert "build: exception" in master.log()


def test_master_that_is_interrupted(tmp_path: Path) -> None:
    with ExampleMaster(tmp_path / "master", tmp_path / "artifacts") as master:
        master.process.send_signal(signal.SIGINT)
        assert master.wait_exit(10) == 1
    assert master.log().endswith("build: cancelled\n")
