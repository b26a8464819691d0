"""What happens around builds: interruptions, reconfigurations, lost masters, shutdowns."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from slaveproto.testing.peers import Kind, MatchingSlave, OurSlave, RealBuilder, RealMaster, Runner, SlaveProgram, poll
from tests.interop.compare import INTERRUPTED, mismatches

pytestmark = pytest.mark.peers


@pytest.fixture(params=get_args(Runner))
def runner(request: pytest.FixtureRequest) -> Runner:
    """What our slave runs on."""
    runner: Runner = request.param
    return runner


@pytest.fixture
def slave(master: RealMaster, runner: Runner, tmp_path: Path) -> Iterator[OurSlave]:
    """Our slave, attached to the master."""
    with OurSlave(tmp_path / "our", master, "our", runner=runner) as slave:
        master.wait_attached("our")
        yield slave


def wait_for_sleep(slave: SlaveProgram) -> set[int]:
    """Wait until a step of a slave has come to its ``sleep``; return the processes of its steps."""

    def sleeping() -> set[int]:
        found = slave.step_processes()
        return set(found) if any(command.startswith("sleep") for command in found.values()) else set()

    return poll(sleeping, 15, f"a step on {slave.name} sleeps")


def wait_for_end_of(pids: set[int], slave: SlaveProgram) -> None:
    """Wait, no longer than a kill takes, until the given processes of steps are gone."""
    poll(lambda: not pids & slave.step_processes().keys(), 2, f"{pids} are gone")


def test_attach(master: RealMaster, slave: OurSlave) -> None:
    status = master.status().slaves["our"]
    assert (status.admin, status.host) == ("Test Admin <admin@example.org>\n", "a test host\n")
    assert status.version
    assert master.ping("hello")
    assert master.build("hello").result == "success"


@pytest.mark.parametrize("builder", INTERRUPTED)
def test_interrupt(kind: Kind, master: RealMaster, slave: OurSlave, tmp_path: Path, builder: str) -> None:
    with MatchingSlave(tmp_path / "own", master, "own") as own:
        master.wait_attached("own")
        names = [f"own-{builder}", f"our-{builder}"]
        tokens = [master.force(name) for name in names]
        wait_for_sleep(own)
        pids = wait_for_sleep(slave)
        for name in names:
            master.stop_build(name)
        builds = [master.wait(token) for token in tokens]
    wait_for_end_of(pids, slave)
    assert not (text := mismatches(kind, builder, *builds)), text


def test_builder_list_changes(master: RealMaster, slave: OurSlave) -> None:
    master.reconfig(builders=[RealBuilder("kept", "hello", ("our",)), RealBuilder("removed", "hello", ("our",))])
    master.wait_attached("our")
    assert master.build("kept").result == "success"
    # 4.3 tells a slave of another directory only when the list of names changes as well
    master.reconfig(
        builders=[RealBuilder("kept", "hello", ("our",), directory="moved"), RealBuilder("added", "hello", ("our",))]
    )
    master.wait_attached("our")
    assert "removed" not in master.status().builders
    assert master.build("kept").result == "success"
    assert master.build("added").result == "success"
    assert (slave.directory / "moved" / "build").is_dir()
    assert (slave.directory / "added" / "build").is_dir()
    assert slave.running


def test_master_killed_in_a_build(master: RealMaster, slave: OurSlave) -> None:
    master.force("slow1")
    pids = wait_for_sleep(slave)
    master.kill()
    wait_for_end_of(pids, slave)
    master.start()
    master.wait_attached("our")
    assert slave.running
    assert master.build("hello").result == "success"


def test_wrong_password_is_corrected(master: RealMaster, runner: Runner, tmp_path: Path) -> None:
    with OurSlave(tmp_path / "our", master, "our", password="other", runner=runner) as slave:
        # the second refusal shows that the slave tries again by itself
        poll(lambda: master.log().count("invalid login from user 'our'") >= 2, 20, "two logins are refused")
        assert slave.running
        assert not master.status().slaves["our"].connected
        master.reconfig(slaves={**master.slaves, "our": "other"})
        master.wait_attached("our")
        assert master.build("hello").result == "success"


def test_graceful_shutdown_of_an_idle_slave(master: RealMaster, slave: OurSlave) -> None:
    master.graceful("our")
    assert slave.wait_exit(10) == 0


def test_graceful_shutdown_of_a_busy_slave(master: RealMaster, slave: OurSlave) -> None:
    token = master.force("slow1")
    wait_for_sleep(slave)
    master.graceful("our")
    assert master.wait(token).result == "success"
    assert slave.wait_exit(10) == 0


def test_sigterm_lets_the_build_end_and_no_other_begin(master: RealMaster, tmp_path: Path) -> None:
    with OurSlave(tmp_path / "our", master, "our") as slave:
        master.wait_attached("our")
        running = master.force("slow1")
        wait_for_sleep(slave)
        slave.process.terminate()
        slave.wait_log("leaving: received SIGTERM")
        waiting = master.force("hello")
        assert master.wait(running).result == "success"
        assert slave.wait_exit(10) == 0
        assert master.result(waiting) is None
    with OurSlave(tmp_path / "next", master, "our"):
        assert master.wait(waiting).result == "success"


class Late(OurSlave):
    """A slave whose first wish to be let go is lost: as if the master had begun a build just before it came."""

    def command(self) -> list[str]:
        code = (
            "import sys, slaveproto.slave.session as m; call = m.SlaveSession._call_shutdown; calls = []; "
            "m.SlaveSession._call_shutdown = lambda self: call(self) if calls else calls.append(1); "
            "from slaveproto.cli import main; sys.exit(main())"
        )
        return [sys.executable, "-c", code, *super().command()[3:]]


def test_build_that_comes_too_late_is_put_back(master: RealMaster, tmp_path: Path) -> None:
    with Late(tmp_path / "late", master, "our") as slave:
        master.wait_attached("our")
        slave.process.terminate()
        slave.wait_log("leaving: received SIGTERM")
        token = master.force("hello")
        assert slave.wait_exit(30) == 0
        assert slave.log().count("hello: refused a new build") == 1
    assert master.result(token) is None
    with OurSlave(tmp_path / "next", master, "our"):
        assert master.wait(token).result == "success"


def test_number_of_builds(master: RealMaster, tmp_path: Path) -> None:
    """Both requests are there before the slave: some masters begin the second build before they hear the wish."""
    tokens = [master.force("slow1"), master.force("hello")]
    with OurSlave(tmp_path / "once", master, "our", options=["--max-builds", "1"]) as slave:
        assert slave.wait_exit(60) == 0
    poll(lambda: any(map(master.result, tokens)), 10, "one of the builds is stored")
    assert [build.result for build in map(master.result, tokens) if build] == ["success"]
    with OurSlave(tmp_path / "next", master, "our"):
        assert [master.wait(token).result for token in tokens] == ["success"] * 2


def test_sigint_in_a_build(master: RealMaster, slave: OurSlave) -> None:
    master.force("interrupt")
    pids = wait_for_sleep(slave)
    slave.process.send_signal(signal.SIGINT)
    assert slave.wait_exit(10) == 0
    wait_for_end_of(pids, slave)
    master.wait_detached("our")
