"""A master on asyncio: it waits for one slave, runs one build on it, prints what it says, and ends.

    python examples/asyncio_master.py HOST PORT NAME PASSWORD DIRECTORY

It listens on HOST and PORT for a slave of that name, such as

    slaveproto create-slave /tmp/slave HOST:PORT NAME PASSWORD && slaveproto slave /tmp/slave

The build brings this very program to the slave, packs it there, and brings the package back into DIRECTORY. The exit
code is 0 only if all of that succeeded. Ctrl-C or SIGTERM ends it; the slave then kills what it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from typing import TypeVar

from slaveproto import LocalProtocolError
from slaveproto.effects import CloseConnection, CountUnacknowledged, FileEffect, Request
from slaveproto.inputs import Completed
from slaveproto.master import (
    Accepted,
    AnyStep,
    BuildLost,
    BuildRefused,
    BuildStarted,
    Disconnected,
    DownloadFile,
    EndBuild,
    LoginFailed,
    MasterConfig,
    MasterEvent,
    MasterInput,
    MasterNotice,
    MasterSession,
    Outcome,
    Output,
    Progress,
    Received,
    Result,
    Shell,
    SlaveAccount,
    SlaveAttached,
    SlaveDetached,
    StartBuild,
    StartStep,
    StepFinished,
    StepSpoke,
    Stop,
    UploadFile,
    Wakeup,
)
from transports.host import files
from transports.host.reports import attempt
from transports.host.sockets import words_of
from transports.host.system import sending

BUILDER = "example"
BUILD = 1

RESPITE = 0.1
"""Seconds until the next attempt to accept a connection, if there is no room for one."""

LINGER = 5.0
"""Seconds that last bytes have to get out, and half a file to be removed."""

E = TypeVar("E", bound=MasterEvent)


async def main(host: str, port: str, name: str, password: str, directory: str) -> int:
    """Run the build and return the exit code."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    steps = (
        DownloadFile(src=os.path.abspath(__file__), dest="program.py"),
        Shell(name="pack", command="tar -czvf program.tar.gz program.py", log_environ=False, halt_on_failure=True),
        Shell(name="look into it", command=("tar", "-tzf", "program.tar.gz"), timeout=60, log_environ=False),
        UploadFile(src="program.tar.gz", dest=os.path.join(os.path.abspath(directory), "program.tar.gz")),
    )
    account = SlaveAccount(name, password, {BUILDER: BUILDER})
    master = Master(MasterSession(MasterConfig({name: account}), resume=os.urandom(32)))
    await master.listen(host, int(port))
    try:
        result = await build(master, name, steps)
    except asyncio.CancelledError:
        result = Result.CANCELLED
    except LocalProtocolError as error:
        # Whatever we want, the slave may be gone before we have heard of it.
        say(str(error))
        result = Result.RETRY
    finally:
        await master.close()
    say(f"build: {result.word}")
    return 0 if result is Result.SUCCESS else 1


async def build(master: Master, slave: str, steps: tuple[AnyStep, ...]) -> Result:
    """Wait for the slave and run the steps on it; raises LocalProtocolError if the slave is lost."""
    await master.heard(SlaveAttached)
    master.want(StartBuild(BUILD, slave, BUILDER))
    event = await master.heard(BuildStarted, BuildRefused)
    if isinstance(event, BuildRefused):
        return Result.RETRY
    progress = Progress(steps)
    number = 0
    while (step := progress.next_step()) is not None:
        number += 1
        say(f"step: {step.title}")
        outcome = await run_step(master, number, step)
        say(f"step: {step.title}: {outcome.result.word} {outcome.why}".rstrip())
        progress.record(step, outcome.result)
    master.want(EndBuild(BUILD))
    return progress.result


async def run_step(master: Master, number: int, step: AnyStep) -> Outcome:
    """Run a step and print what it says."""
    master.want(StartStep(number, BUILD, step))
    while True:
        event = await master.heard(StepSpoke, StepFinished)
        # In a thread, for its reader may be slow. Until it is written no more is taken, which slows down the slave.
        await asyncio.to_thread(write, master.take_output(number))
        if isinstance(event, StepFinished):
            return event.outcome


def write(pieces: Sequence[Output]) -> None:
    """Write output as it came."""
    for piece in pieces:
        sys.stdout.buffer.write(piece.data)
    sys.stdout.buffer.flush()


def say(line: str) -> None:
    """Tell what goes on."""
    print(line, file=sys.stderr, flush=True)


class Master:
    """Drives a session. Everything happens in the thread of the loop; only file effects are performed elsewhere."""

    def __init__(self, session: MasterSession) -> None:
        self._session = session
        self._last = 0
        self._connections: dict[int, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._events: asyncio.Queue[MasterEvent | Exception] = asyncio.Queue()
        self._alarm: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> int:
        """Open the port and return its number.

        Raises:
            OSError: it cannot be had.
        """
        self._loop = asyncio.get_running_loop()
        # A server of asyncio that is closed just as a connection comes would leave that one open for ever.
        self._port = socket.create_server((host, port))
        self._port.setblocking(False)
        self._loop.add_reader(self._port, self._accept)
        number: int = self._port.getsockname()[1]
        say(f"listening on {host}:{number}")
        return number

    def _accept(self) -> None:
        try:
            sock, _ = self._port.accept()
        except BlockingIOError:
            return
        except OSError as error:
            say(f"cannot accept a connection: {error.strerror}")
            self._loop.remove_reader(self._port)
            self._loop.call_later(RESPITE, self._accept_on)
            return
        sock.setblocking(False)
        self._keep(self._loop.create_task(self._connect(sock)))

    def _accept_on(self) -> None:
        if self.listening:
            self._loop.add_reader(self._port, self._accept)

    async def _connect(self, sock: socket.socket) -> None:
        await self._loop.connect_accepted_socket(lambda: Connection(self), sock)

    @property
    def listening(self) -> bool:
        """Whether the port is open."""
        return self._port.fileno() >= 0

    async def heard(self, *kinds: type[E]) -> E:
        """Wait for an announcement of one of these kinds; those before it are dropped."""
        while True:
            event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            if isinstance(event, kinds):
                return event

    def want(self, item: MasterInput) -> None:
        """Hand over what we want.

        Raises:
            LocalProtocolError: that is not possible as things are.
        """
        self._session.handle(item, now=self._loop.time())
        self._look()

    def post(self, item: MasterInput) -> None:
        """Hand over what happened."""
        try:
            self.want(item)
        except Exception as error:
            # We are in a callback of the loop, which tells no one.
            self._events.put_nowait(error)

    def take_output(self, step: int) -> Sequence[Output]:
        """Return what a step said since the last time. Its connection may be read again after that."""
        pieces = self._session.output(step)
        self._look()
        return pieces

    def stop(self, why: str) -> None:
        """Close the port, and begin to close every connection."""
        if self.listening:
            self._loop.remove_reader(self._port)
            self._port.close()
        self.post(Stop(why))

    async def close(self) -> None:
        """Close the port and every connection."""
        self.stop("the master ends")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER + 1):
                # The end of one file effect may lead to another.
                while waiting := [*self._tasks, *(connection.gone for connection in self._connections.values())]:
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._alarm is not None:
            self._alarm.cancel()

    def new_number(self) -> int:
        """Return a number for a connection."""
        self._last += 1
        return self._last

    def add(self, connection: Connection, address: tuple[str, int]) -> None:
        """Take a new connection; one that was accepted while the port was closed is ended."""
        if not self.listening:
            connection.hang_up()
            return
        self._connections[connection.number] = connection
        self.post(Accepted(connection.number, str(address), secrets.token_bytes(16), host=address[0]))

    def remove(self, connection: Connection, why: str) -> None:
        """A connection is over."""
        if self._connections.pop(connection.number, None) is not None:
            self.post(Disconnected(connection.number, why))

    def send(self, connection: Connection) -> None:
        """Send what the session has for a connection if all data before it is sent."""
        while connection.writable and (data := self._session.data_to_send(connection.number)):
            connection.write(data)

    def _look(self) -> None:
        session = self._session
        for number in session.connections_to_send():
            if number in self._connections:
                self.send(self._connections[number])
        for request in session.requests():
            self._perform(request)
        for connection in self._connections.values():
            connection.pause(session.paused(connection.number))
        while (event := session.next_event()) is not None:
            match event:
                case SlaveAttached(slave, peer):
                    say(f"slave {slave} is attached, from {peer}")
                case LoginFailed(_, peer, _, why) | SlaveDetached(peer, why):
                    say(f"{peer}: {why}")
                case BuildRefused(_, why) | BuildLost(_, why) | MasterNotice(why):
                    say(why)
                case _:
                    pass
            self._events.put_nowait(event)
        if self._alarm is not None:
            self._alarm.cancel()
        if session.deadline is not None:
            self._alarm = self._loop.call_at(session.deadline, self.post, Wakeup())

    def _perform(self, request: Request) -> None:
        match request.effect:
            case CloseConnection(number, last):
                if number in self._connections:
                    self._connections[number].close(last)
            case CountUnacknowledged(number):
                line = self._connections.get(number)
                self.post(Completed(request.id, 0 if line is None else line.unacknowledged))
            case effect:
                # A master asks for nothing else.
                assert isinstance(effect, FileEffect)
                self._keep(self._loop.create_task(self._file(request.id, effect)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _file(self, request: int, effect: FileEffect) -> None:
        self.post(await asyncio.to_thread(attempt, request, lambda: files.perform(effect)))


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, master: Master) -> None:
        self.number = master.new_number()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.writable = False
        self._master = master
        self._paused = False
        self._closing = False

    def write(self, data: bytes) -> None:
        """Send; only if `writable`."""
        self._transport.write(data)

    @property
    def unacknowledged(self) -> int:
        """Bytes that were written and that the other system has not acknowledged."""
        sock = self._transport.get_extra_info("socket")
        return (
            0 if sock.fileno() < 0 else self._transport.get_write_buffer_size() + sending.unacknowledged(sock.fileno())
        )

    def pause(self, paused: bool) -> None:
        """Leave it unread, or read it again."""
        if paused is not self._paused and not self._closing:
            self._paused = paused
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def close(self, last: bytes) -> None:
        """Send `last` and close."""
        self._closing = True
        self.writable = False
        self._transport.write(last)
        self._transport.close()
        asyncio.get_running_loop().call_later(LINGER, self._transport.abort)

    def hang_up(self) -> None:
        """End it at once, and say nothing."""
        self._transport.abort()

    # -- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Announce the connection."""
        assert isinstance(transport, asyncio.Transport)
        # What waits is to wait in the session, which counts it. Of 0 the TLS of asyncio thinks that it is always full.
        transport.set_write_buffer_limits(high=1, low=0)
        self._transport = transport
        self.writable = True
        self._master.add(self, transport.get_extra_info("peername"))

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        if not self._closing:
            self._master.post(Received(self.number, data))

    def pause_writing(self) -> None:
        """What was written is not out at once."""
        self.writable = False

    def resume_writing(self) -> None:
        """Now it is."""
        self.writable = not self._closing
        self._master.send(self)

    def eof_received(self) -> None:
        """Who closes his end is gone: what he did not read he never will."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self.writable = False
        self._closing = True
        self.gone.set_result(None)
        self._master.remove(self, words_of(exc) if exc is not None else "")


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
