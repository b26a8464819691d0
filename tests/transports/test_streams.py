"""The thread that reads and writes the pipes of children."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slaveproto.effects import ProcessClosed, ProcessOutput, Spawn
from slaveproto.testing.conformance.harness import wait_until_stuck
from slaveproto.testing.conformance.master import DEADLINE
from transports import processes
from transports.streams import Streams

pytestmark = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="looks into /proc")

MEGABYTE = 1_000_000


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
    assert wait_until_stuck(child.pid) <= 65536
    assert collector.hash.digest() == hashlib.sha256().digest()
    collector.streams.pause(False)
    assert collector.closed.wait(DEADLINE)
    assert child.wait(1).code == child.reap() == 0
    assert collector.hash.digest() == hashlib.sha256(bytes(MEGABYTE)).digest()
