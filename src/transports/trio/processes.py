"""One child process and its streams."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable

import trio

from slaveproto.effects import Holder, ProcessClosed, ProcessEvent, ProcessExited, ProcessOutput
from slaveproto.inputs import Completed
from transports.host import sockets
from transports.host.system import processes
from transports.trio.in_thread import run_in_thread
from transports.trio.nurseries import open_nursery
from transports.trio.reopenable_event import ReopenableEvent

THREADS = trio.CapacityLimiter(math.inf)
"""Threads for calls that may block: a file system, a process that does not end. One that hangs holds up no other."""

SHORTAGE = 1.0
"""Seconds between two attempts to get what the host has not at present."""


class Process:
    """Looks after a child from its start to its end.

    Args:
        number: names the process in what is reported.
        child: the process.
        report: takes what happens.
        gate: while it is closed, outputs are left unread.
    """

    def __init__(
        self,
        number: int,
        child: processes.Child,
        report: Callable[[Completed | ProcessEvent], None],
        gate: ReopenableEvent,
    ) -> None:
        self._number = number
        self._child = child
        self._report = report
        self._gate = gate
        self._abandoned = False
        self._exited = False
        # A process is signalled or reaped, never both: its number may be another's right after.
        self._reaped = False
        self._closed = trio.Event()
        self._streams = trio.CancelScope()

    def signal(self, name: str) -> bool:
        """Send a signal to the whole group; False if it is empty; raises as `Child.send_signal`."""
        return not self._reaped and self._child.send_signal(name)

    async def find_holders(self) -> tuple[Holder, ...]:
        """Return those that hold its outputs open.

        Raises:
            OSError: no thread can be started.
        """
        return await run_in_thread(self._child.find_holders, abandon_on_cancel=True, limiter=THREADS)

    def abandon(self) -> None:
        """Close our ends of the streams and report nothing more."""
        self._abandoned = True
        self._closed.set()
        self._streams.cancel()

    async def run(self, stdin: bytes) -> None:
        """Report that the process is there, write `stdin`, and report what happens until it and its output end.

        If this is cancelled, or fails, the whole group is killed.
        """
        try:
            self._report(Completed(self._number, self._number))
            async with open_nursery() as nursery:
                nursery.start_soon(self._run_streams, stdin)
                exited = await self._wait()
                self._exited = True
                self._tell(exited)
                # Until then the session may still want to reach what is left of the group.
                await self._closed.wait()
                nursery.cancel_scope.cancel()
        finally:
            await self._reap()

    def _tell(self, event: ProcessEvent) -> None:
        if not self._abandoned:
            self._report(event)

    async def _wait(self) -> ProcessExited:
        fd = _pidfd(self._child.pid)
        if fd is not None:
            try:
                await trio.lowlevel.wait_readable(fd)
            finally:
                os.close(fd)
            return self._child.wait(self._number)
        while True:
            try:
                return await run_in_thread(self._child.wait, self._number, abandon_on_cancel=True, limiter=THREADS)
            except OSError:
                # Neither a descriptor nor a thread is to be had; another command will end.
                await trio.sleep(SHORTAGE)

    async def _reap(self) -> None:
        if not (self._exited and self._closed.is_set()):
            with contextlib.suppress(OSError):
                self.signal("KILL")
        self._reaped = True
        # The thread goes on to wait for what does not die in time, such as a process that a file system holds.
        with trio.CancelScope(deadline=trio.current_time() + sockets.LINGER, shield=True):
            try:
                await run_in_thread(self._child.reap, abandon_on_cancel=True, limiter=THREADS)
            except OSError:
                # No thread: what has ended takes no time; anything else stays a zombie.
                if self._exited:
                    self._child.reap()

    async def _run_streams(self, stdin: bytes) -> None:
        with self._streams:
            async with open_nursery() as nursery:
                if self._child.stdin is not None:
                    nursery.start_soon(_write, self._child.stdin, stdin)
                async with open_nursery() as outputs:
                    for fd, name in self._child.outputs.items():
                        outputs.start_soon(self._read, fd, name)
                # The input stays: who writes no more may still read.
                self._tell(ProcessClosed(self._number))
                self._closed.set()

    async def _read(self, fd: int, name: str) -> None:
        try:
            while data := await self._read_some(fd):
                self._tell(ProcessOutput(self._number, name, data))
        finally:
            os.close(fd)

    async def _read_some(self, fd: int) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(fd)
            await self._gate.passed()
            try:
                return os.read(fd, sockets.BLOCK)
            except BlockingIOError:
                continue
            except OSError:
                # A pseudo-terminal whose last writer is gone says EIO instead of end of file.
                return b""


def _pidfd(pid: int) -> int | None:
    """Return a descriptor that is readable once the process has ended, if the system has that."""
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return None


async def _write(fd: int, data: bytes) -> None:
    # Where there is no such stream, `open_slave` refuses to run.
    if sys.platform != "win32":
        async with trio.lowlevel.FdStream(fd) as stream:
            # The child does not have to read it all: that is its own affair.
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(data)
