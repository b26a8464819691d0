"""Much data and slow readers: nothing is lost, little is kept."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slaveproto.effects import ProcessClosed, ProcessOutput, Spawn
from slaveproto.slave.events import Detached
from tests.transports.scripted_master import DEADLINE, Listener
from tests.transports.support import running_slave, wait_until
from transports import links, processes
from transports.streams import Streams

pytestmark = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="looks into /proc")

MEGABYTE = 1_000_000


def written_by(pid: int) -> int:
    """How many bytes a process has written."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


def memory_of(pid: int, what: str) -> int:
    """A figure of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) * 1024


def steady(figure: list[int], pid: int) -> bool:
    """Whether a process wrote nothing since 0.2 seconds ago."""
    figure.append(written_by(pid))
    time.sleep(0.02)
    return len(figure) > 10 and figure[-1] == figure[-10] > 0


@pytest.fixture
def program(listener: Listener, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real program, for its memory is to be looked at."""
    call = [sys.executable, "-m", "slaveproto"]
    place = [str(tmp_path), f"127.0.0.1:{listener.port}", "bot", "secret"]
    subprocess.run([*call, "create-slave", "-q", *place], check=True)
    with subprocess.Popen([*call, "slave", str(tmp_path)], stderr=subprocess.DEVNULL) as program:
        yield program
        program.terminate()


def test_a_master_that_reads_slowly_stops_the_child_and_costs_no_memory(
    listener: Listener, program: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with listener.attach("b", text=False) as master:
        master.run("b", "head -c 200000 /dev/zero", keep=False)
        before = memory_of(program.pid, "VmHWM")
        size = 50 * MEGABYTE
        step = master.start("b", f"echo $$ > pid; exec head -c {size} /dev/zero", keep=False)
        file = tmp_path / "b" / "pid"
        wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
        figures: list[int] = []
        pid = int(file.read_text())
        wait_until(lambda: steady(figures, pid))
        assert figures[-1] < size / 2, "the child was not stopped"
        print(f"the child wrote {figures[-1]} bytes to a master that does not read")
        master.finish(step)
        assert step.sizes == {"stdout": size}
        assert step.digests["stdout"].digest() == hashlib.sha256(bytes(size)).digest()
        growth = memory_of(program.pid, "VmHWM") - before
        print(f"the slave grew by {growth / MEGABYTE:.1f} MB at most, from {before / MEGABYTE:.1f} MB")
        assert growth < 10 * MEGABYTE


def test_a_slave_can_be_stopped_while_its_master_does_not_read(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "LINGER", 0.3)
    with running_slave(listener.port, tmp_path) as slave, listener.attach("b") as master:
        master.start("b", "echo $$ > pid; exec cat /dev/zero")
        file = tmp_path / "b" / "pid"
        wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
        pid, figures = int(file.read_text()), list[int]()
        wait_until(lambda: steady(figures, pid))
        threads = threading.active_count()
        slave.runner.stop("enough")
        slave.join()
        wait_until(lambda: threading.active_count() <= threads - 5)


def test_a_connection_that_is_stuck_is_given_up(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "LINGER", 0.3)
    running = running_slave(listener.port, tmp_path, keepalive=0.6, silence=0.5)
    with running as slave, listener.attach("b") as master:
        master.start("b", "exec cat /dev/zero")
        assert slave.wait_for(Detached).why == "the master said nothing for 0.5 s"
        with listener.attach("b") as second:
            assert second.run("b", "echo fine").text("stdout") == "fine\n"
            # Reader and writer of the first connection, which still does not read, are gone.
            wait_until(lambda: [t.name for t in threading.enumerate()].count("writer") == 1)
            assert not master.closed


class Collector:
    """Takes what `Streams` reports."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.closed = threading.Event()
        self.streams = Streams(self._output, self._closed)
        self.streams.start()

    def _output(self, item: ProcessOutput) -> None:
        self.hash.update(item.data)

    def _closed(self, item: ProcessClosed) -> None:
        self.closed.set()


def start(collector: Collector, command: str, stdin: bytes, directory: Path) -> processes.Child:
    spec = Spawn((b"/bin/sh", b"-c", command.encode()), {b"PATH": b"/usr/bin:/bin"}, str(directory), stdin, False)
    child = processes.spawn(spec)
    collector.streams.add(1, child.outputs, child.stdin, stdin, threading.Event())
    return child


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.streams.close()


def test_much_goes_in_and_out_at_once(collector: Collector, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    child = start(collector, "cat", data, tmp_path)
    assert collector.closed.wait(DEADLINE)
    assert child.wait(1).code == child.reap() == 0
    assert collector.hash.digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("command", ["exit 3", "exec <&-; sleep 0.1; exit 3", "head -c 10; exit 3"])
def test_a_child_does_not_have_to_read_what_it_gets(collector: Collector, tmp_path: Path, command: str) -> None:
    child = start(collector, command, bytes(5 * MEGABYTE), tmp_path)
    assert collector.closed.wait(DEADLINE)
    assert child.wait(1).code == child.reap() == 3


def test_a_pause_leaves_output_unread(collector: Collector, tmp_path: Path) -> None:
    collector.streams.pause(True)
    child = start(collector, f"exec head -c {MEGABYTE} /dev/zero", b"", tmp_path)
    figures: list[int] = []
    wait_until(lambda: steady(figures, child.pid))
    assert figures[-1] <= 65536
    assert collector.hash.digest() == hashlib.sha256().digest()
    collector.streams.pause(False)
    assert collector.closed.wait(DEADLINE)
    assert child.wait(1).code == child.reap() == 0
    assert collector.hash.digest() == hashlib.sha256(bytes(MEGABYTE)).digest()
