"""The pipes and pseudo-terminals of child processes, read and written by one thread."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

from slaveproto.effects import ProcessClosed, ProcessOutput

assert sys.platform != "win32"

BLOCK = 64 * 1024

SELECTABLE = True
"""Whether the pipes of children can be waited for along with sockets."""


class Streams:
    """Reads every child's output and feeds every child's input.

    Args:
        put_output: takes output; may block, and then nothing is read meanwhile.
        put_closed: takes the end of a process's last output stream.
    """

    def __init__(
        self, put_output: Callable[[ProcessOutput], None], put_closed: Callable[[ProcessClosed], None]
    ) -> None:
        self._put_output = put_output
        self._put_closed = put_closed
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._paused = False
        self._running = True
        # Of each process, the descriptors of its output that are still open, and whom to tell when none is.
        self._open: dict[int, tuple[set[int], threading.Event]] = {}
        self._inputs: dict[int, int] = {}
        # Sockets, for these can be closed under another thread that is about to use them.
        self._wake_read, self._wake_write = socket.socketpair()
        for wake in (self._wake_read, self._wake_write):
            wake.setblocking(False)
        # While paused only the second one is asked.
        self._all = selectors.DefaultSelector()
        self._only_wake = selectors.DefaultSelector()
        for selector in (self._all, self._only_wake):
            selector.register(self._wake_read, selectors.EVENT_READ, self._take_wakes)
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def start(self) -> None:
        """Begin to read and write."""
        self._thread.start()

    def add(
        self, process: int, outputs: dict[int, str], stdin: int | None, data: bytes, closed: threading.Event
    ) -> None:
        """Take over the descriptors of a process: outputs by their names, and the input with what goes into it.

        `closed` is set once all outputs are at their end, or dropped.
        """
        self._submit(lambda: self._add(process, outputs, stdin, data, closed))

    def drop(self, process: int) -> None:
        """Close the descriptors of a process and report nothing more of it."""
        self._submit(lambda: self._drop(process))

    def pause(self, paused: bool) -> None:
        """Leave outputs unread, or read them again."""
        if paused != self._paused:
            self._paused = paused
            self._wake()

    def close(self) -> None:
        """Drop every process and end the thread, which may not be blocked any more."""
        self._running = False
        self._wake()
        self._thread.join()

    def _submit(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)
        self._wake()

    def _wake(self) -> None:
        # If it takes no more it is about to be read; if it is closed nothing waits any more.
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0")

    def _run(self) -> None:
        while self._running:
            selector = self._only_wake if self._paused else self._all
            for key, _ in selector.select():
                key.data()
            while not self._jobs.empty():
                self._jobs.get()()
        for process in {*self._open, *self._inputs}:
            self._drop(process)
        for end in (self._all, self._only_wake, self._wake_read, self._wake_write):
            end.close()

    def _take_wakes(self) -> None:
        self._wake_read.recv(BLOCK)

    def _add(
        self, process: int, outputs: dict[int, str], stdin: int | None, data: bytes, closed: threading.Event
    ) -> None:
        self._open[process] = (set(outputs), closed)
        for fd, name in outputs.items():
            self._all.register(fd, selectors.EVENT_READ, _reader(self, process, fd, name))
        if stdin is not None:
            os.set_blocking(stdin, False)
            self._inputs[process] = stdin
            self._all.register(stdin, selectors.EVENT_WRITE, _writer(self, process, stdin, data))

    def _drop(self, process: int) -> None:
        self.close_input(process)
        if process in self._open:
            outputs, closed = self._open.pop(process)
            for fd in outputs:
                self._all.unregister(fd)
                os.close(fd)
            closed.set()

    def close_input(self, process: int) -> None:
        """Close a process's standard input, if that is still open (in the thread)."""
        fd = self._inputs.pop(process, None)
        if fd is not None:
            self._all.unregister(fd)
            os.close(fd)

    def read(self, process: int, fd: int, name: str) -> None:
        """Read what is there (in the thread)."""
        try:
            data = os.read(fd, BLOCK)
        except OSError:
            # A pseudo-terminal whose last writer is gone says EIO instead of end of file.
            data = b""
        if data:
            self._put_output(ProcessOutput(process, name, data))
            return
        self._all.unregister(fd)
        os.close(fd)
        outputs, closed = self._open[process]
        outputs.discard(fd)
        if not outputs:
            # The input stays: who writes no more may still read.
            del self._open[process]
            self._put_closed(ProcessClosed(process))
            closed.set()


def _reader(streams: Streams, process: int, fd: int, name: str) -> Callable[[], None]:
    return lambda: streams.read(process, fd, name)


def _writer(streams: Streams, process: int, fd: int, data: bytes) -> Callable[[], None]:
    left = memoryview(data)

    def write() -> None:
        nonlocal left
        try:
            left = left[os.write(fd, left[:BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:
            # The child does not read it all: that is its own affair.
            left = left[:0]
        if not left:
            streams.close_input(process)

    return write
