"""A slave on asyncio: one event loop owns its session, its connection and its processes.

    python examples/asyncio_slave.py HOST PORT NAME PASSWORD BASEDIR [CA_FILE]

With CA_FILE it speaks TLS, to a master whose certificate is signed by what is in that file. It runs until the master
shuts it down, or until Ctrl-C or SIGTERM; a second one does not wait for children that are slow to die. Linux only, for
its pidfd. Nothing else may wait for the processes that it starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import ssl
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from slaveproto import SlaveConfig, SlaveSession
from slaveproto.effects import (
    Abandon,
    Cancel,
    CloseConnection,
    CountUnacknowledged,
    FileEffect,
    FindHolders,
    Holder,
    OpenConnection,
    ProcessClosed,
    ProcessOutput,
    Request,
    Signal,
    Spawn,
)
from slaveproto.slave import Completed, Connected, Disconnected, Input, Received, SlaveEvent, Start, Stop, Wakeup
from transports.host import files
from transports.host.describe import describe_host, jitter
from transports.host.reports import attempt
from transports.host.system import processes, sending

BLOCK = 64 * 1024

LINGER = 5.0
"""Seconds that last bytes have to get out, and killed children to die."""

THREADS = 100
"""File effects at a time. asyncio's own few threads would let one slow disk hold up every builder."""


class Slave:
    """Drives a session. Everything happens in the thread of the loop; only file effects are performed elsewhere."""

    def __init__(
        self, session: SlaveSession, on_event: Callable[[SlaveEvent], None], tls: ssl.SSLContext | None = None
    ) -> None:
        self._session = session
        self._on_event = on_event
        self._tls = tls
        self._inbox: deque[Input] = deque()
        self._busy = False
        self._link: Link | None = None
        self._links: set[Link] = set()
        self._processes: dict[int, Process] = {}
        self._cancelled: dict[int, threading.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Run the session to its end. Whatever this raises, nothing that the session started runs on."""
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._threads = ThreadPoolExecutor(THREADS)
        try:
            self.post(Start())
            await self._over
        finally:
            await self._close()

    def stop(self, why: str) -> None:
        """End the session; the second call does not wait for children that are slow to die."""
        self.post(Stop(why))

    def post(self, item: Input) -> None:
        """Hand an input to the session. What is posted on the way waits for its turn."""
        self._inbox.append(item)
        if self._busy:
            return
        self._busy = True
        try:
            while self._inbox and not self._over.done():
                self._session.handle(self._inbox.popleft(), now=self._loop.time())
                self._look()
        except Exception as error:
            # We may be in a callback of the loop, which tells no one.
            self._fail(error)
        finally:
            self._busy = False

    def _look(self) -> None:
        session = self._session
        # First what is to be sent: as long as much of it waits, the session keeps requests back.
        if self._link is not None:
            self._link.send_from(session)
        for request in session.requests():
            self._perform(request)
        for process in self._processes.values():
            process.pause(session.congested)
        while (event := session.next_event()) is not None:
            self._on_event(event)
        if self._alarm is not None:
            self._alarm.cancel()
        if session.deadline is not None:
            self._alarm = self._loop.call_at(session.deadline, self.post, Wakeup())
        if session.finished and not self._over.done():
            self._over.set_result(None)

    def _perform(self, request: Request) -> None:
        match request.effect:
            case OpenConnection(host, port):
                self._link = Link(request.id, self.post, self._links)
                self._link.connecting = self._begin(self._link.open(host, port, self._tls))
            case CloseConnection(_, last):
                if self._link is not None:
                    self._link.close(last)
            case CountUnacknowledged():
                self.post(Completed(request.id, 0 if self._link is None else self._link.unacknowledged))
            case Spawn() as start:
                self.post(attempt(request.id, lambda: self._spawn(request.id, start)))
            case Signal(process, name):
                self.post(attempt(request.id, lambda: self._signal(process, name)))
            case FindHolders(process):
                self.post(attempt(request.id, lambda: self._find_holders(process)))
            case Abandon(process):
                if process in self._processes:
                    self._processes[process].abandon()
                self.post(Completed(request.id, None))
            case Cancel(number):
                if number in self._cancelled:
                    self._cancelled[number].set()
                self.post(Completed(request.id, None))
            case effect:
                self._cancelled[request.id] = threading.Event()
                self._begin(self._file(request.id, effect))

    def _spawn(self, number: int, effect: Spawn) -> int:
        self._processes[number] = Process(number, effect, self.post, lambda: self._processes.pop(number))
        return number

    def _signal(self, number: int, name: str) -> bool:
        return number in self._processes and self._processes[number].signal(name)

    def _find_holders(self, number: int) -> tuple[Holder, ...]:
        return self._processes[number].find_holders() if number in self._processes else ()

    async def _file(self, request: int, effect: FileEffect) -> None:
        cancelled = self._cancelled[request]
        perform = functools.partial(files.perform, effect, cancelled)
        done = await self._loop.run_in_executor(self._threads, attempt, request, perform)
        del self._cancelled[request]
        self.post(done)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._over.done():
            self._over.set_exception(error)

    async def _close(self) -> None:
        self._over.cancel()
        if self._alarm is not None:
            self._alarm.cancel()
        for process in list(self._processes.values()):
            process.kill()
        for link in list(self._links):
            link.close(b"")
        gone = [*(process.gone for process in self._processes.values()), *(link.gone for link in self._links)]
        if gone:
            await asyncio.wait(gone, timeout=LINGER + 1)
        for cancelled in self._cancelled.values():
            cancelled.set()
        for task in list(self._tasks):
            task.cancel()
        self._threads.shutdown(wait=False)


class Link(asyncio.Protocol):
    """One connection, from its opening to its end."""

    def __init__(self, number: int, post: Callable[[Input], None], links: set[Link]) -> None:
        self.connecting: asyncio.Task[None] | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number = number
        self._post = post
        self._links = links
        self._transport: asyncio.Transport | None = None
        self._writable = False
        self._closing = False

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Connect; how that went is reported."""
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, host, port, ssl=tls)
        except (OSError, ValueError) as error:
            self._report(Disconnected(self._number, words_of(error)))

    def send_from(self, session: SlaveSession) -> None:
        """Take the session's data if all data before it is sent."""
        if self._writable and self._transport is not None and (data := session.data_to_send()):
            self._transport.write(data)

    @property
    def unacknowledged(self) -> int:
        """Bytes that were written and that the master's system has not acknowledged."""
        if self._transport is None:
            return 0
        sock = self._transport.get_extra_info("socket")
        return (
            0 if sock.fileno() < 0 else self._transport.get_write_buffer_size() + sending.unacknowledged(sock.fileno())
        )

    def close(self, last: bytes) -> None:
        """Send `last` and close; nothing more is reported."""
        if self._closing:
            return
        self._closing = True
        self._writable = False
        if self._transport is not None:
            self._transport.write(last)
            self._transport.close()
            asyncio.get_running_loop().call_later(LINGER, self._transport.abort)
        elif self.connecting is not None:
            self.connecting.cancel()

    def _report(self, item: Input) -> None:
        if not self._closing:
            self._post(item)

    # -- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        assert isinstance(transport, asyncio.Transport)
        # What waits is to wait in the session, which counts it. Of 0 the TLS of asyncio thinks that it is always full.
        transport.set_write_buffer_limits(high=1, low=0)
        self._transport = transport
        self._writable = True
        self._links.add(self)
        self._report(Connected(self._number, secure=transport.get_extra_info("ssl_object") is not None))

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        self._report(Received(self._number, data))

    def pause_writing(self) -> None:
        """What was written is not out at once."""
        self._writable = False

    def resume_writing(self) -> None:
        """Now it is."""
        self._writable = not self._closing
        self._report(Wakeup())

    def eof_received(self) -> None:
        """Who closes his end is gone: what he did not read he never will."""
        assert self._transport is not None
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._writable = False
        self._links.discard(self)
        self.gone.set_result(None)
        self._report(Disconnected(self._number, words_of(exc) if exc is not None else ""))


class Process:
    """A child, from its start to its end.

    Raises:
        OSError: it cannot be started.
        ValueError: likewise.
    """

    def __init__(self, number: int, effect: Spawn, post: Callable[[Input], None], forget: Callable[[], object]) -> None:
        self._child = processes.spawn(effect)
        self._exit: int | None = processes.open_exit(self._child)
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._number = number
        self._post = post
        self._forget = forget
        self._outputs = dict(self._child.outputs)
        self._input = self._child.stdin
        self._left = memoryview(effect.stdin)
        self._reading = False
        self._loop.add_reader(self._exit, self._exited, self._exit)
        if self._input is not None:
            os.set_blocking(self._input, False)
            self._loop.add_writer(self._input, self._write, self._input)

    def pause(self, paused: bool) -> None:
        """Leave its output unread, or read it again."""
        if paused is self._reading:
            self._reading = not paused
            for fd in self._outputs:
                if paused:
                    self._loop.remove_reader(fd)
                else:
                    self._loop.add_reader(fd, self._read, fd)

    def signal(self, name: str) -> bool:
        """Signal its whole group; see `processes.Child`."""
        return self._child.send_signal(name)

    def find_holders(self) -> tuple[Holder, ...]:
        """Return those that hold its outputs open."""
        return self._child.find_holders()

    def abandon(self) -> None:
        """Close our ends of its streams and report nothing more."""
        self._post = lambda item: None
        for fd in list(self._outputs):
            self._close_output(fd)
        self._end()

    def kill(self) -> None:
        """Kill its whole group; `gone` tells when it is dead."""
        with contextlib.suppress(OSError):
            self.signal("KILL")
        self.abandon()

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, BLOCK)
        except OSError:
            # A pseudo-terminal whose last writer is gone says EIO instead of end of file.
            data = b""
        if data:
            self._post(ProcessOutput(self._number, self._outputs[fd], data))
            return
        self._close_output(fd)
        if not self._outputs:
            self._post(ProcessClosed(self._number))
            self._end()

    def _write(self, fd: int) -> None:
        try:
            self._left = self._left[os.write(fd, self._left[:BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:
            # The child does not read it all: that is its own affair.
            self._left = self._left[:0]
        if not self._left:
            self._close_input()

    def _exited(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        os.close(fd)
        self._exit = None
        # It is still a zombie: its group can be signalled as long as the session waits for its output.
        self._post(self._child.wait(self._number))
        self._end()

    def _end(self) -> None:
        if self._exit is None and not self._outputs and not self.gone.done():
            self._close_input()
            self._child.reap()
            self.gone.set_result(None)
            self._forget()

    def _close_output(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        del self._outputs[fd]
        os.close(fd)

    def _close_input(self) -> None:
        if self._input is not None:
            self._loop.remove_writer(self._input)
            os.close(self._input)
            self._input = None


def words_of(error: Exception) -> str:
    """Return what the operating system said, in one line; asyncio adds the address."""
    if isinstance(error, OSError) and not isinstance(error, (ssl.SSLError, socket.gaierror)) and error.errno:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)


async def main(host: str, port: str, name: str, password: str, basedir: str, ca_file: str = "") -> None:
    """Run a slave to its end."""
    config = SlaveConfig(host=host, port=int(port), name=name, password=password, basedir=os.path.abspath(basedir))
    tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
    slave = Slave(SlaveSession(config, describe_host("asyncio example"), jitter, resume=os.urandom(32)), show, tls)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, slave.stop, f"received {number.name}")
    # Our parent may have left it ignored, and then there is no way to learn how a process ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    await slave.run()


def show(event: SlaveEvent) -> None:
    """Print what happens."""
    print(event, file=sys.stderr, flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
