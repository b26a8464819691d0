"""`slaveproto master` and `build` when they are to end: what runs, what waits, frozen slaves, signals in any order."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slaveproto.ci.store import Store
from slaveproto.testing.conformance import wait_until
from slaveproto.testing.peers import OurMaster, OurSlave

pytestmark = pytest.mark.programs

FILE = """[master]
listen = "127.0.0.1:9989"
[[slave]]
name = "s"
password = "p"
max_builds = 1
[[builder]]
name = "b"
slaves = ["s"]
[[builder.step]]
shell = "touch begun; while ! test -e go; do sleep 0.02; done; echo done"
[[builder]]
name = "c"
slaves = ["s"]
[[builder.step]]
shell = "true"
"""
# A frozen slave gets half a second in the end, not ten.
HURRIED = (
    "import sys, slaveproto.ci.builds as m; m.LAST_MOMENTS = 0.5; from slaveproto.cli import main; sys.exit(main())"
)


class HurriedMaster(OurMaster):
    """A master that does not wait long for the end of what it interrupted."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", HURRIED, *super().command()[3:]]


def results(master: OurMaster) -> list[tuple[str, str | None]]:
    """Return builders and results of all builds, newest first."""
    store = Store(str(master.directory / ".slaveproto"), read_only=True)
    try:
        return [(build.builder, build.result) for build in store.builds(100)]
    finally:
        store.close()


def trigger(master: OurMaster, builder: str) -> str:
    """Ask for a build; return what is noted about that."""
    call = [sys.executable, "-m", "slaveproto", "trigger", str(master.file), builder]
    return subprocess.run(call, check=True, timeout=30, capture_output=True, text=True).stderr


@contextlib.contextmanager
def in_a_build(master: OurMaster, folder: Path) -> Iterator[OurSlave]:
    """Run the master and a slave that builds b, while c waits."""
    with master, OurSlave(folder / "slave", master, "s") as slave:
        slave.wait_attached()
        trigger(master, "b")
        trigger(master, "c")
        wait_until((folder / "slave/b/build/begun").exists)
        yield slave


def test_what_runs_ends_and_what_waits_is_kept(tmp_path: Path) -> None:
    master = OurMaster(tmp_path / "master", FILE)
    with in_a_build(master, tmp_path) as slave:
        master.process.terminate()
        wait_until(
            lambda: "received SIGTERM: stopping when builds (1) have ended, within 600 s; once more" in master.log()
        )
        slave.wait_log("message from master: this master is about to end: no new builds, those that run have 600 s")
        # Stored for the next master, too.
        assert trigger(master, "b") == "slaveproto: this master is about to end; the next one builds it\n"
        (tmp_path / "slave/b/build/go").touch()
        assert master.wait_exit(5) == 0
        assert results(master) == [("b", "success")]
        master.start()
        slave.wait_attached(2)
        wait_until(lambda: sorted(results(master)[:2]) == [("b", "success"), ("c", "success")])


def test_time_that_is_over_interrupts_what_runs(tmp_path: Path) -> None:
    master = OurMaster(tmp_path / "master", FILE, "--drain", "0.2")
    with in_a_build(master, tmp_path):
        master.process.terminate()
        assert master.wait_exit(5) == 0
        assert results(master) == [("b", "retry")]


def test_frozen_slave_has_a_limit(tmp_path: Path) -> None:
    master = HurriedMaster(tmp_path / "master", FILE, "--drain", "0.2")
    with in_a_build(master, tmp_path) as slave:
        slave.freeze()
        master.process.terminate()
        assert master.wait_exit(5) == 0
        assert "what was interrupted does not end: leaving" in master.log()
        assert results(master) == [("b", None)]
        slave.thaw()
        (tmp_path / "slave/b/build/go").touch()
        master.start()
        wait_until(lambda: "build 1 did not end when the master did, and is built again" in master.log())


def test_second_signal_with_a_frozen_slave(tmp_path: Path) -> None:
    master = OurMaster(tmp_path / "master", FILE, "--drain", "0")
    with in_a_build(master, tmp_path) as slave:
        slave.freeze()
        master.process.terminate()
        wait_until(lambda: "received SIGTERM: stopping" in master.log())
        master.process.terminate()
        assert master.wait_exit(2) == 143
        assert "Traceback" not in master.log()


@pytest.mark.parametrize("seed", range(5))
def test_signals_in_any_order(seed: int, tmp_path: Path) -> None:
    """The slave works, or is frozen, and the signals come while the master begins, waits or builds."""
    dice = random.Random(seed)
    master = HurriedMaster(tmp_path / "master", FILE, "--drain", dice.choice(["0", "0.2", "600"]))
    with contextlib.ExitStack() as stack:
        phase = ["beginning", "idle", "build", "frozen", "frozen"][seed]
        if phase in ("build", "frozen"):
            slave = stack.enter_context(in_a_build(master, tmp_path))
            if phase == "frozen":
                slave.freeze()
        else:
            stack.enter_context(master)
            wait_until(lambda: (phase == "idle") <= ("listening on" in master.log()))
            wait_until((master.directory / ".slaveproto/state.sqlite").exists)
        numbers = [dice.choice([signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]) for _ in range(4)]
        for number in [*numbers, signal.SIGTERM, signal.SIGTERM]:
            if master.running:
                master.process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    master.process.wait(dice.choice([0.0, 0.01, 0.1, 0.3]))
        assert master.wait_exit(5) in (0, 130, 143), (phase, numbers, master.log())
        assert "Traceback" not in master.log()


def test_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        # A name that is no file.
        manager.bind(f"\0{tmp_path}")
        manager.setblocking(False)

        def hears(line: str) -> bool:
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.extend(manager.recv(4096).decode().splitlines())
            return line in heard

        environ = {"NOTIFY_SOCKET": f"@{tmp_path}", "WATCHDOG_USEC": "200000"}
        (tmp_path / "file.toml").write_text(FILE.replace("9989", "0"))
        call = [sys.executable, "-m", "slaveproto", "master", str(tmp_path / "file.toml")]
        with subprocess.Popen(call, stderr=subprocess.DEVNULL, env=environ) as master:
            wait_until(lambda: hears("READY=1"))
            heard.clear()
            wait_until(lambda: hears("WATCHDOG=1"))
            master.terminate()
            assert master.wait(5) == 0
            assert hears("STOPPING=1")
            assert hears("STATUS=received SIGTERM: stopping; once more to leave at once")


def test_build_may_end_in_its_time(tmp_path: Path) -> None:
    text = (
        '[[builder]]\nname = "b"\n[[builder.step]]\n'
        'shell = "touch ../../../../begun; while ! test -e ../../../../go; do sleep 0.02; done"\n'
    )
    (tmp_path / "file.toml").write_text(text)
    call = [sys.executable, "-m", "slaveproto", "build", "--drain", "60", str(tmp_path / "file.toml")]
    with subprocess.Popen(call, stdout=subprocess.PIPE) as process:
        wait_until((tmp_path / "begun").exists)
        process.terminate()
        assert process.stdout is not None
        for line in process.stdout:
            if b"ending what runs in 60 s" in line:
                break
        (tmp_path / "go").touch()
        out = process.communicate(timeout=10)[0]
    assert process.returncode == 143
    assert out.decode().splitlines()[-1].split()[:3] == ["b", "local", "success"]
