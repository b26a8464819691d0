"""Our master with real slaves of every generation, and with ours: one file of steps does the same on all of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from slaveproto.testing.peers import (
    OurBuild,
    OurBuilds,
    OurMaster,
    OurSlave,
    RealSlave,
    Runner,
    Shutdown,
    SlaveProgram,
    poll,
)
from tests.interop.available import is_available, require
from tests.interop.steps import DATA, PEERS, REAL, Peer, facts_of, is_real, mismatches

pytestmark = pytest.mark.peers

HERE = Path(__file__).parent

REFUSED = "unauthorized login|UnauthorizedLogin|refused"
"""What slaves log of a wrong password."""


@dataclass(frozen=True)
class Run:
    """What came of steps.toml on one peer."""

    peer: Peer
    code: int
    builds: Mapping[str, OurBuild]
    artifacts: Path


def text_for(peer: Peer, file: str) -> str:
    """Return one of our files for a peer; for the embedded slave it names none."""
    text = (HERE / file).read_text(encoding="utf-8")
    if peer != "embedded":
        return text
    head, _, rest = text.partition("[[slave]]")
    rest = rest[rest.index("[[builder]]") :]
    return head + rest.replace('slaves = ["ex"]\n', "")


def slave_of(
    peer: Peer,
    directory: Path,
    master: OurBuilds | OurMaster,
    *,
    password: str | None = None,
    may_shut_down: bool = False,
) -> SlaveProgram:
    """Return the slave of a peer that has a process of its own."""
    shutdown: Shutdown | None = "signal" if may_shut_down else None
    if is_real(peer):
        return RealSlave(directory, master, "ex", password, kind=peer, allow_shutdown=shutdown)
    runner: Runner = "threads" if peer == "ours-threads" else "trio"
    return OurSlave(directory, master, "ex", password, runner=runner, allow_shutdown=shutdown)


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest) -> Peer:
    """Each peer in turn, installed."""
    peer: Peer = request.param
    if is_real(peer):
        require(peer)
    return peer


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Peer, Run]:
    """Everything in steps.toml, built once on every peer that can be had, on all at once: most steps only wait."""
    finished = {}
    with ExitStack() as stack:
        masters = {}
        for peer in PEERS:
            if not (is_real(peer) and not is_available(peer)):
                root = tmp_path_factory.mktemp(peer)
                masters[peer] = master = OurBuilds(root / "master", text_for(peer, "steps.toml"))
                (master.directory / "data.bin").write_bytes(DATA)
                stack.enter_context(master)
                if peer != "embedded":
                    stack.enter_context(slave_of(peer, root / "slave", master))
        for peer, master in masters.items():
            code, builds = master.wait(180)
            finished[peer] = Run(peer, code, builds, master.directory / "artifacts")
    return finished


@pytest.fixture(scope="module")
def run(peer: Peer, runs: Mapping[Peer, Run]) -> Run:
    """What came of steps.toml on one peer."""
    return runs[peer]


def test_every_step_does_what_it_should(run: Run) -> None:
    assert not (text := mismatches(run.peer, facts_of(run.builds, run.artifacts))), text


def test_exit_code_tells_that_not_all_succeeded(run: Run) -> None:
    assert run.code == 1


def test_steps_tell_how_long_they_took(run: Run) -> None:
    steps = [step for build in run.builds.values() for step in build.steps if step.result != "skipped"]
    assert all(step.elapsed is not None and math.isfinite(step.elapsed) and step.elapsed >= 0 for step in steps)
    elapsed = run.builds["steps"].step("timeout").elapsed
    assert elapsed is not None
    assert 2 <= elapsed < 10


# -- what happens around builds

SLAVES = [peer for peer in PEERS if peer != "embedded"]
on_every_slave = pytest.mark.parametrize("peer", SLAVES, indirect=True)
on_real_slaves = pytest.mark.parametrize("peer", REAL, indirect=True)


def wait_for_sleep(slave: SlaveProgram) -> None:
    """Wait until the build has come to its ``sleep`` on a slave."""
    poll(
        lambda: any(words.startswith("sleep") for words in slave.step_processes().values()),
        30,
        "the step sleeps",
    )


@pytest.fixture
def sleeping(peer: Peer, tmp_path: Path) -> Iterator[tuple[OurBuilds, SlaveProgram]]:
    """Our master, and a slave on which the build has come to its ``sleep``."""
    master = OurBuilds(tmp_path / "master", text_for(peer, "steps-interrupted.toml"))
    with master, slave_of(peer, tmp_path / "slave", master) as slave:
        wait_for_sleep(slave)
        yield master, slave


def check_interrupted(master: OurBuilds) -> None:
    """Interrupt the build, and see how that is told."""
    master.interrupt()
    code, builds = master.wait(30)
    build = builds["interrupted"]
    assert code == 130
    assert build.result == "cancelled"
    assert [(step.name, step.result) for step in build.steps] == [
        ("done", "success"),
        ("sleeps", "cancelled"),
        ("not-run", "skipped"),
    ]
    assert build.step("sleeps").logs["stdio"] == "before\n"


@on_every_slave
def test_interrupt(sleeping: tuple[OurBuilds, SlaveProgram]) -> None:
    master, slave = sleeping
    check_interrupted(master)
    poll(lambda: not slave.step_processes(), 5, "the processes of the step are gone")
    assert slave.running


@on_every_slave
def test_slave_is_killed_in_a_build(sleeping: tuple[OurBuilds, SlaveProgram]) -> None:
    """The build is begun anew when the slave is back."""
    master, slave = sleeping
    slave.kill()
    slave.end_steps()
    slave.start()
    wait_for_sleep(slave)
    check_interrupted(master)


@on_real_slaves
def test_second_slave_of_a_name_is_refused(
    peer: Peer, sleeping: tuple[OurBuilds, SlaveProgram], tmp_path: Path
) -> None:
    master, first = sleeping
    with slave_of(peer, tmp_path / "second", master) as second:
        second.wait_exit(20)  # a refusal other than that of the password is the end of every real slave
        assert second.attachments == 0
    assert first.step_processes()
    check_interrupted(master)


# the master waits for 10 s (steps-interrupted.toml), therefore not with every slave
@pytest.mark.parametrize("peer", ["old", "new"], indirect=True)
def test_second_slave_takes_the_place_of_one_that_hangs(
    peer: Peer, sleeping: tuple[OurBuilds, SlaveProgram], tmp_path: Path
) -> None:
    master, first = sleeping
    first.freeze()
    with slave_of(peer, tmp_path / "second", master) as second:
        second.wait_attached()
        wait_for_sleep(second)
        check_interrupted(master)


@on_every_slave
def test_slave_asks_for_its_shutdown(peer: Peer, tmp_path: Path) -> None:
    with (
        OurMaster(tmp_path / "master", text_for(peer, "steps-interrupted.toml")) as master,
        slave_of(peer, tmp_path / "slave", master, may_shut_down=True) as slave,
    ):
        slave.wait_attached()
        slave.ask_shutdown()
        assert slave.wait_exit(20) == 0
        assert master.running


@on_every_slave
def test_wrong_password(peer: Peer, tmp_path: Path) -> None:
    """Every slave sees that it is the password, and all but the oldest try again; the file can be mended meanwhile."""
    text = text_for(peer, "steps-interrupted.toml")
    with (
        OurMaster(tmp_path / "master", text.replace('"pw"', '"another"')) as master,
        slave_of(peer, tmp_path / "slave", master, password="pw") as slave,
    ):
        if peer == "old":
            slave.wait_exit(30)
            assert "UnauthorizedLogin" in slave.log()
        else:
            poll(lambda: len(re.findall(REFUSED, slave.log())) >= 2, 40, "two logins are refused")
            assert master.log().count("login as 'ex'") == 1
        master.reread(text)
        if peer == "old":
            slave.start()
        slave.wait_attached()
