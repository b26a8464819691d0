"""A slave on a bare `selectors` loop: one thread, and everything in it.

    python examples/selectors_slave.py HOST PORT NAME PASSWORD BASEDIR

It runs until the master shuts it down, or until Ctrl-C or SIGTERM; a second one does not wait for children that are
slow to die. Linux only, for its pidfd. Nothing else may wait for the processes that it starts.

What a bare loop costs: looking up the name of the master, starting a process, and everything about files is done on the
spot. Meanwhile nothing else happens: while it removes a large tree, no output is read and no interrupt is heard.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable

from slaveproto import SlaveConfig, SlaveSession
from slaveproto.effects import (
    Abandon,
    Cancel,
    CloseConnection,
    CountUnacknowledged,
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


class Slave:
    """Drives a session."""

    def __init__(self, session: SlaveSession, on_event: Callable[[SlaveEvent], None]) -> None:
        self._session = session
        self._on_event = on_event
        self._loop = Loop()
        self._inbox: deque[Input] = deque([Start()])
        self._link: Link | None = None
        self._processes: dict[int, Process] = {}

    def post(self, item: Input) -> None:
        """Hand an input to the session. Safe from other threads and from signal handlers."""
        self._inbox.append(item)
        self._loop.wake()

    def stop(self, why: str) -> None:
        """End the session; the second call does not wait for children that are slow to die."""
        self.post(Stop(why))

    def run(self) -> None:
        """Run the session to its end. Whatever this raises, nothing that the session started runs on."""
        session = self._session
        try:
            while not session.finished:
                # Only what is there now: a file that is read on and on must not keep everybody else from being heard.
                for _ in range(len(self._inbox)):
                    session.handle(self._inbox.popleft(), now=time.monotonic())
                    self._look()
                if not session.finished and not self._loop.wait(0.0 if self._inbox else session.deadline):
                    self._inbox.append(Wakeup())
        finally:
            for process in list(self._processes.values()):
                process.kill()
            if self._link is not None:
                self._link.close(b"")
            self._loop.close()

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

    def _perform(self, request: Request) -> None:
        tell = self._inbox.append
        match request.effect:
            case OpenConnection(host, port):
                self._link = Link(request.id, host, port, self._loop, tell)
            case CloseConnection(_, last):
                if self._link is not None:
                    self._link.close(last)
            case CountUnacknowledged():
                tell(Completed(request.id, 0 if self._link is None else self._link.unacknowledged))
            case Spawn() as start:
                tell(attempt(request.id, lambda: self._spawn(request.id, start)))
            case Signal(process, name):
                tell(attempt(request.id, lambda: self._signal(process, name)))
            case FindHolders(process):
                tell(attempt(request.id, lambda: self._find_holders(process)))
            case Abandon(process):
                if process in self._processes:
                    self._processes[process].abandon()
                tell(Completed(request.id, None))
            case Cancel():
                # Nothing takes so long that it were not done before it could be cancelled.
                tell(Completed(request.id, None))
            case effect:
                tell(attempt(request.id, lambda: files.perform(effect)))

    def _spawn(self, number: int, effect: Spawn) -> int:
        forget = functools.partial(self._processes.pop, number)
        self._processes[number] = Process(number, effect, self._loop, self._inbox.append, forget)
        return number

    def _signal(self, number: int, name: str) -> bool:
        return number in self._processes and self._processes[number].signal(name)

    def _find_holders(self, number: int) -> tuple[Holder, ...]:
        return self._processes[number].find_holders() if number in self._processes else ()


class Loop:
    """A selector whose data are the functions to call."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)
        self.call_when(self._awake, selectors.EVENT_READ, lambda: self._awake.recv(BLOCK))

    def call_when(self, file: int | socket.socket, event: int, call: Callable[[], object]) -> None:
        """Have a function called whenever a file can be read or written, instead of what was to be called so far."""
        if file in self._selector.get_map():
            self._selector.modify(file, event, call)
        else:
            self._selector.register(file, event, call)

    def forget(self, file: int | socket.socket) -> None:
        """Call nothing any more for a file."""
        self._selector.unregister(file)

    def wait(self, until: float | None) -> bool:
        """Wait for something to happen, and call what is to be called; False if it became `until` before."""
        ready = self._selector.select(None if until is None else max(0.0, until - time.monotonic()))
        for key, _ in ready:
            # What was called before may have closed it, and even opened another file of its number.
            if self._selector.get_map().get(key.fileobj) is key:
                key.data()
        return bool(ready)

    def wake(self) -> None:
        """End the waiting. Safe from other threads and from signal handlers."""
        # If it takes no more it is about to be read; if it is closed nothing waits any more.
        with contextlib.suppress(OSError):
            self._alarm.send(b"\0")

    def close(self) -> None:
        """Free what is left."""
        for end in (self._selector, self._awake, self._alarm):
            end.close()


class Link:
    """One connection, from its opening to its end. One address after the other is tried."""

    def __init__(self, number: int, host: str, port: int, loop: Loop, tell: Callable[[Input], None]) -> None:
        self._number = number
        self._loop = loop
        self._tell = tell
        self._unsent = memoryview(b"")
        self._sock: socket.socket | None = None
        self._connected = False
        try:
            # This asks name servers, and blocks until they answer.
            self._addresses = deque(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            self._end(words_of(error))
        else:
            self._connect("no address")

    def send_from(self, session: SlaveSession) -> None:
        """Take the session's data if all data before it is sent."""
        if self._connected and not self._unsent:
            self._unsent = memoryview(session.data_to_send())
            self._send()
            if self._unsent:
                self._listen()

    @property
    def unacknowledged(self) -> int:
        """Bytes that were taken and that the master's system has not acknowledged."""
        return 0 if self._sock is None else len(self._unsent) + sending.unacknowledged(self._sock.fileno())

    def close(self, last: bytes) -> None:
        """Send `last`, as much of it as fits into the socket's buffer, and close; nothing more is reported."""
        self._tell = lambda item: None
        if self._sock is not None:
            if self._connected:
                self._unsent = memoryview(bytes(self._unsent) + last)
                self._send()
            self._end("")

    def _connect(self, why: str) -> None:
        while self._addresses:
            family, kind, protocol, _, address = self._addresses.popleft()
            try:
                self._sock = socket.socket(family, kind, protocol)
            except OSError as error:
                why = words_of(error)
                continue
            self._sock.setblocking(False)
            code = self._sock.connect_ex(address)
            if code in (0, errno.EINPROGRESS):
                self._loop.call_when(self._sock, selectors.EVENT_WRITE, self._come_about)
                return
            why = os.strerror(code)
            self._sock.close()
            self._sock = None
        self._end(why)

    def _come_about(self) -> None:
        assert self._sock is not None
        self._loop.forget(self._sock)
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._sock.close()
            self._sock = None
            self._connect(os.strerror(code))
            return
        self._connected = True
        self._listen()
        self._tell(Connected(self._number))

    def _listen(self) -> None:
        assert self._sock is not None
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._loop.call_when(self._sock, events, self._exchange)

    def _exchange(self) -> None:
        assert self._sock is not None
        if self._unsent:
            self._send()
            self._listen()
            if not self._unsent:
                # The session may have more.
                self._tell(Wakeup())
        try:
            data = self._sock.recv(BLOCK)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(words_of(error))
            return
        if data:
            self._tell(Received(self._number, data))
        else:
            self._end("")

    def _send(self) -> None:
        assert self._sock is not None
        try:
            while self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # Reading will tell why; what the master said before may still be there to be read.
            self._unsent = memoryview(b"")

    def _end(self, why: str) -> None:
        if self._sock is not None:
            self._loop.forget(self._sock)
            self._sock.close()
            self._sock = None
            self._connected = False
        self._tell(Disconnected(self._number, why))


class Process:
    """A child, from its start to its end.

    Raises:
        OSError: it cannot be started.
        ValueError: likewise.
    """

    def __init__(
        self, number: int, effect: Spawn, loop: Loop, tell: Callable[[Input], None], gone: Callable[[], object]
    ) -> None:
        self._child = processes.spawn(effect)
        self._exit: int | None = processes.open_exit(self._child)
        self._number = number
        self._loop = loop
        self._tell = tell
        self._gone = gone
        self._outputs = dict(self._child.outputs)
        self._input = self._child.stdin
        self._left = memoryview(effect.stdin)
        self._reading = False
        self._loop.call_when(self._exit, selectors.EVENT_READ, self._exited)
        if self._input is not None:
            os.set_blocking(self._input, False)
            self._loop.call_when(self._input, selectors.EVENT_WRITE, self._write)

    def pause(self, paused: bool) -> None:
        """Leave its output unread, or read it again."""
        if paused is self._reading:
            self._reading = not paused
            for fd in self._outputs:
                if paused:
                    self._loop.forget(fd)
                else:
                    self._loop.call_when(fd, selectors.EVENT_READ, functools.partial(self._read, fd))

    def signal(self, name: str) -> bool:
        """Signal its whole group; see `processes.Child`."""
        return self._child.send_signal(name)

    def find_holders(self) -> tuple[Holder, ...]:
        """Return those that hold its outputs open."""
        return self._child.find_holders()

    def abandon(self) -> None:
        """Close our ends of its streams and report nothing more."""
        self._tell = lambda item: None
        for fd in list(self._outputs):
            self._close_output(fd)
        self._close_input()
        self._end()

    def kill(self) -> None:
        """Kill its whole group, and wait until it is dead."""
        with contextlib.suppress(OSError):
            self.signal("KILL")
        self.abandon()
        if self._exit is not None:
            self._exited()

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, BLOCK)
        except OSError:
            # A pseudo-terminal whose last writer is gone says EIO instead of end of file.
            data = b""
        if data:
            self._tell(ProcessOutput(self._number, self._outputs[fd], data))
            return
        self._close_output(fd)
        if not self._outputs:
            self._tell(ProcessClosed(self._number))
            self._end()

    def _write(self) -> None:
        assert self._input is not None
        try:
            self._left = self._left[os.write(self._input, self._left[:BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:
            # The child does not read it all: that is its own affair.
            self._left = self._left[:0]
        if not self._left:
            self._close_input()

    def _exited(self) -> None:
        assert self._exit is not None
        self._loop.forget(self._exit)
        os.close(self._exit)
        self._exit = None
        # It is still a zombie: its group can be signalled as long as the session waits for its output.
        self._tell(self._child.wait(self._number))
        self._end()

    def _end(self) -> None:
        if self._exit is None and not self._outputs:
            self._close_input()
            self._child.reap()
            self._gone()

    def _close_output(self, fd: int) -> None:
        if self._reading:
            self._loop.forget(fd)
        del self._outputs[fd]
        os.close(fd)

    def _close_input(self) -> None:
        if self._input is not None:
            self._loop.forget(self._input)
            os.close(self._input)
            self._input = None


def words_of(error: OSError | UnicodeError) -> str:
    """Return what the operating system said, in one line."""
    return getattr(error, "strerror", None) or str(error)


def main(host: str, port: str, name: str, password: str, basedir: str) -> None:
    """Run a slave to its end."""
    config = SlaveConfig(host=host, port=int(port), name=name, password=password, basedir=os.path.abspath(basedir))
    slave = Slave(SlaveSession(config, describe_host("selectors example"), jitter, resume=os.urandom(32)), show)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: slave.stop(f"received {signal.Signals(number).name}"))
    # Our parent may have left it ignored, and then there is no way to learn how a process ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    slave.run()


def show(event: SlaveEvent) -> None:
    """Print what happens."""
    print(event, file=sys.stderr, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
