"""The pipes of child processes, each read or written by a thread of its own: they cannot be waited for together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping

import attrs

from slaveproto.effects import ProcessClosed, ProcessOutput

BLOCK = 64 * 1024

SELECTABLE = False
"""Whether the pipes of children can be waited for along with sockets."""


@attrs.define
class _WatchedProcess:
    """A process whose streams are looked after.

    Args:
        closed: is set once all outputs are at their end, or dropped.
        open: how many outputs are not at their end.
    """

    number: int
    closed: threading.Event
    open: int
    dropped: bool = False


class Streams:
    """Reads every child's output and feeds every child's input.

    A thread that waits for a pipe cannot be told to stop. It ends when the last process that holds the other end does;
    until then a pipe of which nothing more is reported stays open.

    Args:
        put_output: takes output; may block, and then no more of that stream is read meanwhile.
        put_closed: takes the end of a process's last output stream.
    """

    def __init__(
        self, put_output: Callable[[ProcessOutput], None], put_closed: Callable[[ProcessClosed], None]
    ) -> None:
        self._put_output = put_output
        self._put_closed = put_closed
        self._processes: dict[int, _WatchedProcess] = {}
        # Guards what is in `_processes`, and tells of every change of it or of `_paused`.
        self._changed = threading.Condition()
        self._paused = False

    def start(self) -> None:
        """Begin to read and write."""

    def add(
        self, process: int, outputs: Mapping[int, str], stdin: int | None, data: bytes, closed: threading.Event
    ) -> None:
        """Take over the descriptors of a process: outputs by their names, and the input with what goes into it.

        `closed` is set once all outputs are at their end, or dropped.
        """
        entry = _WatchedProcess(process, closed, len(outputs))
        with self._changed:
            self._processes[process] = entry
        for fd, name in outputs.items():
            threading.Thread(target=self._read, args=(entry, fd, name), name=f"reader {process}", daemon=True).start()
        if stdin is not None:
            threading.Thread(target=_write, args=(entry, stdin, data), name=f"feeder {process}", daemon=True).start()

    def drop(self, process: int) -> None:
        """Report nothing more of a process, and close its descriptors as soon as that can be."""
        with self._changed:
            entry = self._processes.pop(process, None)
            if entry is not None:
                entry.dropped = True
                entry.closed.set()
                self._changed.notify_all()

    def pause(self, paused: bool) -> None:
        """Leave outputs unread, or read them again."""
        with self._changed:
            self._paused = paused
            self._changed.notify_all()

    def close(self) -> None:
        """Drop every process."""
        for process in list(self._processes):
            self.drop(process)

    def _read(self, entry: _WatchedProcess, fd: int, name: str) -> None:
        with contextlib.closing(open(fd, "rb", buffering=0)) as pipe:
            while self._may_read(entry):
                # A pipe whose last writer is gone may say so by an error.
                data = b""
                with contextlib.suppress(OSError):
                    data = pipe.read(BLOCK)
                if not data:
                    break
                if not entry.dropped:
                    self._put_output(ProcessOutput(entry.number, name, data))
        with self._changed:
            entry.open -= 1
            if entry.open or entry.dropped:
                return
            # The input stays: who writes no more may still read.
            self._put_closed(ProcessClosed(entry.number))
            entry.closed.set()

    def _may_read(self, entry: _WatchedProcess) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: entry.dropped or not self._paused)
            return not entry.dropped


def _write(entry: _WatchedProcess, fd: int, data: bytes) -> None:
    left = memoryview(data)
    # The child does not read it all: that is its own affair.
    with contextlib.closing(open(fd, "wb", buffering=0)) as pipe, contextlib.suppress(OSError):
        while left and not entry.dropped:
            left = left[pipe.write(left[:BLOCK]) or 0 :]
