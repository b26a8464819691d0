"""A slave under trio: one nursery owns its connection, its processes and whatever waits for a file.

    async with open_slave(session) as slave:
        async for event in slave:
            print(event)

Nothing else may wait for the processes that it starts, and SIGCHLD must not be ignored.
"""

from __future__ import annotations

import contextlib
import math
import ssl
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import trio

from slaveproto.effects import (
    Abandon,
    Cancel,
    CloseConnection,
    CountUnacknowledged,
    FileEffect,
    FindHolders,
    OpenConnection,
    Request,
    Signal,
    Spawn,
)
from slaveproto.inputs import Completed, Disconnected, Received, Stop, Wakeup
from slaveproto.slave.events import Connected, Input, SlaveEvent, SlaveNotice, Start
from slaveproto.slave.session import SlaveSession
from transports.host.reports import attempt, rejected
from transports.host.route import Route
from transports.host.sockets import words_of
from transports.host.system import processes, streams
from transports.trio.event_queue import EventQueue
from transports.trio.file_effects import perform_in_thread
from transports.trio.in_thread import run_in_thread
from transports.trio.nurseries import open_nursery
from transports.trio.processes import THREADS, Process
from transports.trio.reopenable_event import ReopenableEvent
from transports.trio.streams import Wire, connect, open_wire

if TYPE_CHECKING:
    from transports.host.proxy import Proxy


@contextlib.asynccontextmanager
async def open_slave(
    session: SlaveSession,
    *,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    proxy: Proxy | None = None,
) -> AsyncIterator[Slave]:
    """Run a slave as long as the block lasts. The block should read its events, and may post and stop.

    At the end of the block whatever the slave still does is stopped at once: its process groups are killed, and the
    connection has up to 5 s to get rid of its last bytes. If the block is cancelled, or raises, there is no such
    respite. An exception comes out as itself, whichever task raised it.

    Args:
        session: the session; nothing else may touch it.
        ssl_context: for a master behind TLS, as of `transports.host.tls.client_context`; None for plain TCP.
        server_hostname: the name that its certificate has to be for; None for the name that the session connects to.
        proxy: the HTTP proxy that connections go through, as of `transports.host.proxy.parse_proxy`; None for none.

    Raises:
        RuntimeError: this is Windows.
    """
    if not streams.SELECTABLE:
        raise RuntimeError("a slave under trio needs pipes that can be waited for; on Windows use transports.threads")
    slave = Slave(session, Route(ssl_context, server_hostname, proxy))
    async with open_nursery() as nursery:
        await nursery.start(slave.run, nursery)
        yield slave
        slave.stop("the program has left it")
        slave.stop("at once")


async def run_slave(
    session: SlaveSession,
    on_event: Callable[[SlaveEvent], None],
    *,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    proxy: Proxy | None = None,
    task_status: trio.TaskStatus[Slave] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a slave to its end. `slave = await nursery.start(run_slave, session, on_event)` gives something to stop.

    Args:
        session: the session; nothing else may touch it.
        on_event: is told what happens; what it raises ends the slave and comes out here.
        ssl_context: as for `open_slave`.
        server_hostname: as for `open_slave`.
        proxy: as for `open_slave`.
        task_status: trio's.
    """
    async with open_slave(session, ssl_context=ssl_context, server_hostname=server_hostname, proxy=proxy) as slave:
        task_status.started(slave)
        async for event in slave:
            on_event(event)


class Slave:
    """A slave that runs; made by `open_slave`. An asynchronous iterator of what it announces.

    A slow reader stops nothing: up to 10,000 announcements (or 16 million characters) wait, then the oldest give way
    to one `SlaveNotice` that tells how many there were. The iteration ends with the session.
    """

    def __init__(self, session: SlaveSession, route: Route) -> None:
        self._session = session
        self._route = route
        self._unread: EventQueue[SlaveEvent] = EventQueue()
        self._inbox: deque[Input] = deque()
        self._busy = False
        self._over = False
        self._link: _Link | None = None
        self._processes: dict[int, Process] = {}
        self._cancelled: dict[int, threading.Event] = {}
        self._gate = ReopenableEvent()
        self._alarm = trio.CancelScope()

    def __aiter__(self) -> Slave:
        return self

    async def __anext__(self) -> SlaveEvent:
        event = await self._unread.take()
        if event is None:
            raise StopAsyncIteration
        if isinstance(event, int):
            return SlaveNotice(f"{event} announcements were not read in time and are lost")
        return event

    def stop(self, why: str) -> None:
        """End the session; the second call does not wait for children that are slow to die."""
        self.post(Stop(why))

    def post(self, item: Input) -> None:
        """Hand an input to the session; without effect after its end. From other threads: `trio.from_thread`.

        Raises:
            LocalProtocolError: the session does not expect it.
        """
        self._inbox.append(item)
        # What is posted on the way waits for its turn.
        if self._busy:
            return
        self._busy = True
        try:
            while self._inbox and not self._over:
                self._session.handle(self._inbox.popleft(), now=trio.current_time())
                self._pump()
        finally:
            self._busy = False

    def _pump(self) -> None:
        session = self._session
        for request in session.requests():
            self._perform(request)
        if self._link is not None:
            self._link.send_from(session)
        self._gate.turn(not session.congested)
        while (event := session.next_event()) is not None:
            self._unread.put(event)
        self._alarm.deadline = self._deadline()
        if session.finished:
            self._over = True
            self._work.cancel_scope.cancel()

    def _deadline(self) -> float:
        deadline = self._session.deadline
        return math.inf if deadline is None else deadline

    async def run(self, links: trio.Nursery, *, task_status: trio.TaskStatus[None]) -> None:
        """Do all of the work but that of connections, whose last bytes may outlive the session.

        Args:
            links: where connections belong.
            task_status: trio's.
        """
        self._links = links
        try:
            async with open_nursery() as self._work:
                self.post(Start())
                task_status.started()
                while True:
                    with trio.CancelScope(deadline=self._deadline()) as self._alarm:
                        await trio.sleep_forever()
                    self.post(Wakeup())
        finally:
            # Who reads the connection may outlive the rest for a moment.
            self._over = True
            self._unread.end()

    def _perform(self, request: Request) -> None:
        match request.effect:
            case OpenConnection(host, port):
                self._link = _Link(request.id, self.post)
                self._links.start_soon(self._link.run, host, port, self._route)
            case CloseConnection(_, last):
                if self._link is not None:
                    self._link.close(last)
            case CountUnacknowledged():
                self.post(Completed(request.id, 0 if self._link is None else self._link.unacknowledged))
            case Spawn() as start:
                self._work.start_soon(self._run_process, request.id, start)
            case Signal(process, name):
                self.post(attempt(request.id, lambda: self._signal(process, name)))
            case FindHolders(process):
                self._work.start_soon(self._find_holders, request.id, process)
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
                self._work.start_soon(self._run_file, request.id, effect)

    def _signal(self, process: int, name: str) -> bool:
        running = self._processes.get(process)
        return running is not None and running.signal(name)

    async def _find_holders(self, request: int, process: int) -> None:
        running = self._processes.get(process)
        try:
            found = () if running is None else await running.find_holders()
        except OSError as error:
            self.post(rejected(request, error))
        else:
            self.post(Completed(request, found))

    async def _run_process(self, request: int, effect: Spawn) -> None:
        try:
            # Not to be abandoned: a process that no task knows of would be left.
            child = await run_in_thread(processes.spawn, effect, limiter=THREADS)
        except (OSError, ValueError) as error:
            self.post(rejected(request, error))
            return
        self._processes[request] = Process(request, child, self.post, self._gate)
        try:
            await self._processes[request].run(effect.stdin)
        finally:
            del self._processes[request]

    async def _run_file(self, request: int, effect: FileEffect) -> None:
        cancelled = self._cancelled[request]
        try:
            done = await perform_in_thread(request, effect, cancelled)
        finally:
            # The thread may go on without us.
            cancelled.set()
            del self._cancelled[request]
        self.post(done)


class _Link:
    """One connection, from its opening to its end."""

    def __init__(self, number: int, post: Callable[[Input], None]) -> None:
        self._number = number
        self._post = post
        self._connecting = trio.CancelScope()
        self._wire: Wire | None = None

    def send_from(self, session: SlaveSession) -> None:
        """Take the session's data if all data before it is sent."""
        if self._wire is not None and self._wire.idle:
            data = session.data_to_send()
            if data:
                self._wire.send(data)

    @property
    def unacknowledged(self) -> int:
        """Bytes that were taken and that the master's system has not acknowledged."""
        return 0 if self._wire is None else self._wire.unacknowledged

    def close(self, last: bytes) -> None:
        """Send `last` and close; nothing more is reported."""
        self._connecting.cancel()
        if self._wire is not None:
            self._wire.close(last)

    async def run(self, host: str, port: int, route: Route) -> None:
        """Connect, and read to the end."""
        stream, why = None, ""
        with self._connecting:
            try:
                stream = await connect(host, port, route)
            except (OSError, ValueError, RuntimeError, trio.BrokenResourceError) as error:
                # RuntimeError: no thread can be started to ask for the address.
                why = words_of(error)
        if self._connecting.cancel_called:
            if stream is not None:
                await trio.aclose_forcefully(stream)
            return
        if stream is None:
            self._post(Disconnected(self._number, why))
            return
        async with open_wire(stream, lambda: self._post(Wakeup())) as self._wire:
            self._post(Connected(self._number, secure=route.ssl_context is not None))
            ended = await self._wire.read(lambda data: self._post(Received(self._number, data)))
            if ended is not None:
                self._post(Disconnected(self._number, ended))
