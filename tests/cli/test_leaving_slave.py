"""The program `slaveproto slave` when it leaves: signals in any order, limits, what a service manager hears."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slaveproto.cli import main
from slaveproto.cli.settings import Settings, dump
from slaveproto.testing import CallRefused, ConnectionLost
from slaveproto.testing.conformance import MasterSocket, SocketMaster, wait_until
from slaveproto.testing.conformance.harness import is_alive

pytestmark = pytest.mark.programs

CALL = [sys.executable, "-m", "slaveproto", "slave"]
UNTIL_GO = "echo $$; while ! test -e go; do sleep 0.02; done"
ENDLESS = "trap '' TERM; echo $$; while :; do sleep 0.1; done"
DOCUMENTED = (0, 129, 130, 143)


@pytest.fixture(params=["threads", "trio"])
def runner(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def listener() -> Iterator[MasterSocket]:
    with MasterSocket() as listener:
        yield listener


class Program:
    """A slave that was started with some options, in the environment with some more variables."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *options: str,
        runner: str = "threads",
        call: list[str] = CALL,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.basedir = folder / "slave"
        self.basedir.mkdir()
        (self.basedir / "slaveproto.toml").write_text(dump(Settings("127.0.0.1", port, "bot", "secret", "/")))
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*call, "--runner", runner, *options, str(self.basedir)],
                stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **(environ or {})},
            )  # fmt: skip

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def says(self, words: str) -> None:
        """Wait until the log contains some words."""
        wait_until(lambda: words in self.log.read_text())

    def ends(self, code: int, within: float = 5.0) -> None:
        """Wait for the end."""
        assert self.process.wait(within) == code, self.log.read_text()


def begin(master: SocketMaster, script: str, **more: Any) -> tuple[Any, int]:
    """Start a command that tells its process; return the step and the process."""
    step = master.start("b", script, **more)
    master.wait_for(lambda: step.numbers)
    return step, step.numbers[0]


def test_what_runs_ends_well(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path, listener.port, runner=runner) as slave, listener.attach("b", "c") as master:
        step, _ = begin(master, UNTIL_GO)
        slave.process.terminate()
        master.wait_for(lambda: master.wishes == ["shutdown"])
        with pytest.raises(CallRefused, match="takes no new build"):
            master.start("c", "true")
        (slave.basedir / "b/go").touch()
        assert master.finish(step).rc == 0
        assert master.call_bot("shutdown") is None
        slave.ends(0)


def test_second_signal_stops_it_now_with_a_code_of_its_own(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path, listener.port, runner=runner) as slave, listener.attach("b") as master:
        _, pid = begin(master, ENDLESS, sigtermTime=1000)
        slave.process.terminate()
        slave.says("leaving: received SIGTERM")
        slave.process.terminate()
        slave.ends(143, within=2.0)
        wait_until(lambda: not is_alive(pid))


def test_silent_master_is_waited_for_no_longer_than_was_said(listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path, listener.port, "--drain", "0.3") as slave, listener.attach("b") as master:
        _, pid = begin(master, UNTIL_GO)
        slave.process.terminate()
        slave.ends(0, within=3.0)
        assert "stopping: the time for leaving is over" in slave.log.read_text()
        wait_until(lambda: not is_alive(pid))


def test_number_of_builds(listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path, listener.port, "--max-builds", "1") as slave, listener.attach("b") as master:
        assert master.run("b", "echo fine").output() == "fine\n"
        assert master.wishes == ["shutdown"]
        with pytest.raises(CallRefused):
            master.start("b", "true")
        assert master.call_bot("shutdown") is None
        slave.ends(0)


def test_idle_slave_ends(listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path, listener.port, "--idle-exit", "0.3") as slave, listener.attach("b") as master:
        master.wait_for(lambda: master.wishes == ["shutdown"])
        assert master.call_bot("shutdown") is None
        slave.ends(0)


@pytest.mark.parametrize(
    "options", [["--drain", "soon"], ["--drain", "-1"], ["--max-builds", "0"], ["--idle-exit", "0"]]
)
def test_options_that_are_wrong(options: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["slave", *options, str(tmp_path)]) == 2
    assert capfd.readouterr().err.count("\n") == 1


# -- a service manager


class Manager:
    """Socket of a service manager, and what it heard."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def hears(self, line: str) -> None:
        """Wait for a line."""
        wait_until(lambda: line in self.listen())

    def listen(self) -> list[str]:
        """Return all lines so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard += self._socket.recv(4096).decode().splitlines()
        return self.heard

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


def test_service_manager_is_told(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    with contextlib.closing(manager), Program(tmp_path, listener.port, runner=runner, environ=environ) as slave:
        manager.hears(f"STATUS=connecting to 127.0.0.1:{listener.port}")
        manager.hears("WATCHDOG=1")
        assert "READY=1" not in manager.heard
        with listener.attach("b") as master:
            manager.hears("READY=1")
            assert master.run("b", "echo ${NOTIFY_SOCKET-none} ${WATCHDOG_USEC-none}").output() == "none none\n"
            manager.heard.clear()
            manager.hears("WATCHDOG=1")
            slave.process.terminate()
            manager.hears("STOPPING=1")
            manager.hears("EXTEND_TIMEOUT_USEC=620000000")
            master.wait_for(lambda: master.wishes)
            assert master.call_bot("shutdown") is None
            slave.ends(0)
            manager.hears("STATUS=stopping: the master asked for it")


HANGING = [sys.executable, "-c", "import sys, time, slaveproto.cli.run_slave as m; text_of = m.text_of; "
           "m.text_of = lambda event: time.sleep(1000) if 'stand still' in repr(event) else text_of(event); "
           "from slaveproto.cli import main; sys.exit(main())", "slave"]  # fmt: skip


def test_loop_that_hangs_gives_no_sign_of_life(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
    with (
        contextlib.closing(manager),
        Program(tmp_path, listener.port, runner=runner, call=HANGING, environ=environ),
        listener.attach("b") as master,
    ):
        manager.hears("READY=1")
        # Not to be waited for: it hangs before or after its answer is out.
        master.connection.call(master.bot, "print", ("stand still",), {})  # type: ignore[arg-type]
        master.flush()
        time.sleep(0.3)
        manager.listen()
        manager.heard.clear()
        time.sleep(0.3)
        assert manager.listen() == []


# -- signals in any order


@pytest.mark.parametrize("seed", range(4))
def test_signals_in_any_order(seed: int, runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    """In any phase: before there is a master, while one is silent, attached, in a build that does not want to end."""
    dice = random.Random(seed)
    phase = dice.choice(["no master", "silent", "attached", "build", "build"])
    port = 1 if phase == "no master" else listener.port
    with contextlib.ExitStack() as stack:
        slave = stack.enter_context(Program(tmp_path, port, "--drain", dice.choice(["0", "0.2", "600"]), runner=runner))
        pids = []
        if phase == "silent":
            slave.says("connecting")
        elif phase != "no master":
            master = stack.enter_context(listener.attach("b"))
            if phase == "build":
                pids = [begin(master, ENDLESS, sigtermTime=1000)[1]]
        else:
            slave.says("not connected")
        numbers = [dice.choice([signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]) for _ in range(3)]
        for number in numbers:
            if slave.process.poll() is None:
                slave.process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    slave.process.wait(dice.choice([0.0, 0.01, 0.1, 0.3]))
        assert slave.process.wait(5.0) in DOCUMENTED, (phase, numbers, slave.log.read_text())
        assert "Traceback" not in slave.log.read_text()
        wait_until(lambda: not any(map(is_alive, pids)))
        with contextlib.suppress(ConnectionLost):
            stack.pop_all().close()
