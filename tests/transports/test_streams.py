"""The threads that read and write the pipes of children: one for all as on POSIX, and many as on Windows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from slaveproto.effects import ProcessClosed, ProcessOutput, Spawn
from slaveproto.testing.conformance import wait_until
from slaveproto.testing.conformance.harness import descriptors, wait_until_stuck
from slaveproto.testing.conformance.socket_master import DEADLINE
from transports.host.posix import streams as posix
from transports.host.system import processes
from transports.host.windows import streams as windows

pytestmark = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="looks into /proc")

MEGABYTE = 1_000_000

Kind: TypeAlias = type[posix.Streams] | type[windows.Streams]
KINDS: tuple[Kind, ...] = (posix.Streams, windows.Streams)


class Collector:
    """Takes what `Streams` reports."""

    def __init__(self, kind: Kind) -> None:
        self.hash = hashlib.sha256()
        self.size = 0
        self.closed = threading.Event()
        """The last output of the process is at its end."""
        self.over = threading.Event()
        """That, or it was dropped."""
        self.streams = kind(self._output, self._closed)
        self.streams.start()

    def start(self, command: str, stdin: bytes, directory: Path) -> processes.Child:
        """Start a shell, whose streams are looked after."""
        environ = {b"PATH": b"/usr/bin:/bin"}
        child = processes.spawn(Spawn((b"/bin/sh", b"-c", command.encode()), environ, str(directory), stdin, False))
        self.streams.add(1, child.outputs, child.stdin, stdin, self.over)
        return child

    def _output(self, item: ProcessOutput) -> None:
        self.hash.update(item.data)
        self.size += len(item.data)

    def _closed(self, item: ProcessClosed) -> None:
        self.closed.set()


@pytest.fixture(params=KINDS, ids=["posix", "windows"])
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    collector = Collector(request.param)
    yield collector
    collector.streams.close()


def test_much_goes_in_and_out_at_once(collector: Collector, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    child = collector.start("cat", data, tmp_path)
    assert collector.closed.wait(DEADLINE)
    assert collector.over.wait(DEADLINE)
    assert child.wait(1).code == child.reap() == 0
    assert collector.hash.digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("command", ["exit 3", "exec <&-; sleep 0.1; exit 3", "head -c 10; exit 3"])
def test_a_child_does_not_have_to_read_what_it_gets(collector: Collector, tmp_path: Path, command: str) -> None:
    child = collector.start(command, bytes(5 * MEGABYTE), tmp_path)
    assert collector.closed.wait(DEADLINE)
    assert child.wait(1).code == child.reap() == 3


def test_one_output_at_its_end_is_not_all(collector: Collector, tmp_path: Path) -> None:
    child = collector.start("exec 2>&-; read word; echo $word", b"fine\n", tmp_path)
    assert collector.closed.wait(DEADLINE)
    assert child.wait(1).code == child.reap() == 0
    assert collector.hash.digest() == hashlib.sha256(b"fine\n").digest()


def test_a_pause_leaves_output_unread(collector: Collector, tmp_path: Path) -> None:
    collector.streams.pause(True)
    child = collector.start(f"exec head -c {MEGABYTE} /dev/zero", b"", tmp_path)
    assert wait_until_stuck(child.pid) <= 65536
    assert collector.size == 0
    collector.streams.pause(False)
    assert collector.closed.wait(DEADLINE)
    assert child.wait(1).code == child.reap() == 0
    assert collector.hash.digest() == hashlib.sha256(bytes(MEGABYTE)).digest()


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("ending", ["drop", "close"])
def test_nothing_more_is_heard_of_what_was_dropped(
    collector: Collector, tmp_path: Path, ending: str, paused: bool
) -> None:
    before, threads = descriptors(), threading.active_count()
    child = collector.start("exec cat /dev/zero", bytes(MEGABYTE), tmp_path)
    wait_until(lambda: collector.size > MEGABYTE)
    collector.streams.pause(paused)
    if ending == "drop":
        collector.streams.drop(1)
        collector.streams.drop(1)
    else:
        collector.streams.close()
    assert collector.over.wait(DEADLINE)
    # Nobody reads it any more.
    assert child.wait(1).signal == 13
    child.reap()
    wait_until(lambda: threading.active_count() <= threads and descriptors() <= before)
    assert not collector.closed.is_set()


def test_a_pipe_that_nobody_closes_holds_up_nobody(collector: Collector, tmp_path: Path) -> None:
    child = collector.start("echo here; exec sleep 60", bytes(MEGABYTE), tmp_path)
    wait_until(lambda: collector.size == len("here\n"))
    collector.streams.close()
    assert collector.over.wait(DEADLINE)
    assert child.send_signal("KILL")
    assert child.wait(1).signal == 9
    child.reap()
    assert not collector.closed.is_set()
