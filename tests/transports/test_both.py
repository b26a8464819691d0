"""What both runners do and the public suite cannot check, because it looks at their insides or at a whole program."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from slaveproto.effects import FileEffect, MakeDirs
from slaveproto.slave.events import Detached
from slaveproto.testing.conformance import MasterSocket, StartSlave, wait_until
from slaveproto.testing.conformance.harness import Lab, descriptors, need_proc, wait_until_stuck
from slaveproto.wire import Failure
from transports.host import files

pytestmark = pytest.mark.programs

MEGABYTE = 1_000_000


@pytest.fixture
def lab(listener: MasterSocket, start: StartSlave, tmp_path: Path) -> Lab:
    need_proc()
    return Lab(tmp_path, listener, start)


def test_a_file_system_that_hangs_holds_up_neither_others_nor_the_end(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform, hang, hanging = files.perform, threading.Event(), list[str]()

    def slow(effect: FileEffect, cancelled: threading.Event | None = None) -> object:
        if isinstance(effect, MakeDirs) and effect.path.endswith("/dead"):
            hanging.append(effect.path)
            hang.wait()
        return perform(effect, cancelled)

    monkeypatch.setattr(files, "perform", slow)
    builders = [f"b{n}" for n in range(60)]
    try:
        with lab.slave() as slave, lab.listener.attach(*builders, "good") as master:
            for builder in builders:
                master.start(builder, "true", workdir="dead")
            assert master.run("good", "echo fine").output() == "fine\n"
            wait_until(lambda: len(hanging) == len(builders))
            slave.stop("enough")
            slave.stop("really")
            slave.join(2)
    finally:
        hang.set()


def test_log_files_are_followed_beside_much_output(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slaveproto.commands.process.POLL_INTERVAL", 0.01)
    script = "(for i in $(seq 40); do echo $i; sleep 0.01; done > log) & head -c 200000000 /dev/zero; wait"
    with lab.attached() as (_, master):
        step = master.run("b", script, keep=False, logfiles={"log": "log"})
        assert step.rc == 0
        assert step.sizes["stdout"] == 200_000_000
        pieces = [value for key, value in step.items() if key == "log"]
        assert "".join(text for _, text in pieces) == "".join(f"{n}\n" for n in range(1, 41))  # type: ignore[misc,str-unpack]


# -- the real program, for its memory is to be looked at


def memory_of(pid: int, what: str) -> int:
    """A figure of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) * 1024


@pytest.fixture
def program(listener: MasterSocket, runner: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    call = [sys.executable, "-m", "slaveproto"]
    place = [str(tmp_path), f"127.0.0.1:{listener.port}", "bot", "secret"]
    subprocess.run([*call, "create-slave", "-q", *place], check=True)
    slave = [*call, "slave", "--runner", runner, str(tmp_path)]
    with subprocess.Popen(slave, stderr=subprocess.DEVNULL) as program:
        yield program
        program.terminate()


def test_a_master_that_reads_slowly_costs_no_memory(
    listener: MasterSocket, program: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with listener.attach("b", text=False) as master:
        master.run("b", "head -c 200000 /dev/zero", keep=False)
        before = memory_of(program.pid, "VmHWM")
        size = 50 * MEGABYTE
        step = master.start("b", f"echo $$ > pid; exec head -c {size} /dev/zero", keep=False)
        file = tmp_path / "b" / "pid"
        wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
        written = wait_until_stuck(int(file.read_text()))
        assert written < size / 2, "the child was not stopped"
        print(f"the child wrote {written} bytes to a master that does not read")
        master.finish(step)
        assert step.sizes == {"stdout": size}
        assert step.digests["stdout"].digest() == hashlib.sha256(bytes(size)).digest()
        growth = memory_of(program.pid, "VmHWM") - before
        print(f"the slave grew by {growth / MEGABYTE:.1f} MB at most, from {before / MEGABYTE:.1f} MB")
        assert growth < 10 * MEGABYTE


def test_a_thread_that_cannot_be_started_is_no_failure_of_the_build(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    def no_idle_worker() -> bool:
        return not [thread for thread in threading.enumerate() if thread.name == "worker"]

    async def refuse_too(*_: object, **__: object) -> None:
        refuse()

    with lab.slave() as slave, lab.listener.attach("b") as master:
        assert master.run("b", "true").rc == 0
        wait_until(no_idle_worker)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            patch.setattr(trio.to_thread, "run_sync", refuse_too)
            step = master.run("b", "true")
        assert step.rc is None
        (failure,) = step.ends
        assert isinstance(failure, Failure)
        assert "can't start new thread" in failure.message
        assert master.run("b", "echo fine").output() == "fine\n"
        # The connection, too, is made again when that is possible again.
        wait_until(no_idle_worker)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            patch.setattr(trio, "open_tcp_stream", refuse_too)
            master.socket.shutdown(socket.SHUT_RDWR)
            slave.wait_for(Detached, 2)
            assert "can't start new thread" in repr(slave.of(Detached)[1])
        with lab.listener.attach("b") as again:
            assert again.run("b", "echo fine").output() == "fine\n"


def test_a_command_whose_looker_after_cannot_be_started_is_ended(
    lab: Lab, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runner != "threads":
        pytest.skip("one thread for each process is what the blocking runner has")
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("wait "):
            raise RuntimeError("can't start new thread")
        start(thread)

    with lab.attached() as (_, master):
        assert master.run("b", "true").rc == 0
        before = descriptors()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            step = master.run("b", "echo $$ > pid; sleep 60")
        assert step.rc is None
        assert [type(end) for end in step.ends] == [Failure]
        assert descriptors() == before
        assert master.run("b", "echo fine").output() == "fine\n"
