"""A master under trio: one nursery owns its port, its connections and whatever waits for a file.

async with open_master(config, port=9989) as master:
    slave = await master.wait_attached("ex")
    async with slave.build("runtests") as build, build.step(Shell(command=("make", "test"))) as step:
        async for output in step:
            sys.stdout.buffer.write(output.data)
    print(step.outcome.result)
"""

from __future__ import annotations

import contextlib
import math
import secrets
import socket
import ssl
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import trio

from slaveproto.effects import CloseConnection, FileEffect, Request
from slaveproto.inputs import Completed, Disconnected, Received, Wakeup
from slaveproto.master import (
    Accepted,
    AnyStep,
    BuildersChanged,
    BuildLost,
    BuildRefused,
    BuildStarted,
    Configure,
    Disconnect,
    EndBuild,
    InterruptStep,
    LoginFailed,
    MasterConfig,
    MasterEvent,
    MasterInput,
    MasterSession,
    Outcome,
    Output,
    Ping,
    Ponged,
    ShutDownSlave,
    ShutdownWanted,
    SlaveAttached,
    SlaveDetached,
    SlaveInfo,
    StartBuild,
    StartStep,
    StepFinished,
    StepSpoke,
    Stop,
)
from transports.host import files
from transports.host.reports import rejected
from transports.trio.listener import Listener, ServerConnection
from transports.trio.nurseries import open_nursery
from transports.trio.processes import THREADS
from transports.trio.streams import LINGER

PATIENCE: Final = 10.0
"""Seconds that a step which nobody waits for any more has to end, before its slave is given up."""

Env = Mapping[str, "str | tuple[str, ...] | None"]


class SlaveLost(Exception):
    """The slave that this needs is gone; the text tells why."""


class BuildNotStarted(Exception):
    """A build could not be started; the text tells why. The slave may be there still."""


@contextlib.asynccontextmanager
async def open_master(
    config: MasterConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    on_event: Callable[[MasterEvent], None] | None = None,
) -> AsyncIterator[Master]:
    """Run a master as long as the block lasts. At its end every connection is closed.

    An exception comes out as itself, whichever task raised it.

    Args:
        config: who may come.
        host: the address to listen on.
        port: the port to listen on; 0 for any that is free.
        ssl_context: to speak TLS; None for plain TCP.
        on_event: is told everything that happens, at once; what it raises ends the master and comes out here. It must
            not wait.

    Raises:
        OSError: the port cannot be had.
    """
    listeners = [_plain(listener) for listener in await trio.open_tcp_listeners(port, host=host)]
    async with open_nursery() as nursery:
        hub = _Hub(MasterSession(config), on_event or _ignore, nursery)
        master = Master(hub, listeners[0])
        await nursery.start(hub.run, listeners, ssl_context)
        try:
            yield master
        finally:
            master.stop("the master ends")


class Master:
    """A master that runs; made by `open_master`."""

    def __init__(self, hub: _Hub, listener: socket.socket) -> None:
        self._hub = hub
        self.host, self.port = listener.getsockname()[:2]

    host: str
    """The address that it listens on."""

    port: int
    """The port that it listens on."""

    @property
    def slaves(self) -> Mapping[str, AttachedSlave]:
        """The slaves that are attached, by name."""
        return self._hub.slaves

    def configure(self, config: MasterConfig) -> None:
        """Replace the configuration: see `slaveproto.master.Configure`."""
        self._hub.post(Configure(config))

    async def wait_change(self) -> None:
        """Wait until a slave comes or goes, its builders change, or one of them becomes idle."""
        await self._hub.wait_change()

    async def wait_attached(self, name: str) -> AttachedSlave:
        """Wait until a slave is attached."""
        await trio.lowlevel.checkpoint()
        while name not in self.slaves:
            await self.wait_change()
        return self.slaves[name]

    def stop(self, why: str) -> None:
        """Close the port and every connection; builds end as with any other loss of their slaves."""
        self._hub.stop(why)


def _ignore(event: MasterEvent) -> None:
    """Nobody wants to be told."""


class _Hub:
    """Drives the session. Connections and files bring it news, what programs hold bring it their wishes.

    Args:
        session: the session; nobody else may touch it.
        on_event: is told everything that happens, until it raises something.
        nursery: ends if it does.
    """

    def __init__(
        self,
        session: MasterSession,
        on_event: Callable[[MasterEvent], None],
        nursery: trio.Nursery,
    ) -> None:
        self.slaves: dict[str, AttachedSlave] = {}
        self.builds: dict[int, Build] = {}
        self.steps: dict[int, RunningStep] = {}
        self._session = session
        self._on_event = on_event
        self._nursery = nursery
        self._inbox: deque[MasterInput] = deque()
        self._pumping = False
        self._numbers = 0
        self._lines: dict[int, ServerConnection] = {}
        self._paused: set[int] = set()
        self._waiting = trio.lowlevel.ParkingLot()
        self._alarm = trio.CancelScope()
        self._rings = math.inf
        self._listening = trio.CancelScope()

    async def wait_change(self) -> None:
        """Wait for the next `notify`."""
        await self._waiting.park()

    def notify(self) -> None:
        """Something changed that others may wait for."""
        self._waiting.unpark_all()

    def stop(self, why: str) -> None:
        """End everything."""
        self._listening.cancel()
        self.post(Stop(why))

    # -- the session

    def number(self) -> int:
        """Return a number that nothing else has: a connection, a build, a step."""
        self._numbers += 1
        return self._numbers

    def want(self, item: MasterInput) -> None:
        """Hand over what a program wants, which may be impossible; raises LocalProtocolError."""
        self._session.handle(item, now=trio.current_time())
        self._pump()

    def post(self, item: MasterInput) -> None:
        """Hand over what happened; what happens on the way waits for its turn."""
        self._inbox.append(item)
        self._pump()

    def output(self, step: int) -> list[Output]:
        """Return what a step said since the last time."""
        pieces = self._session.output(step)
        if self._paused:
            # One may be read again.
            self._pump()
        return pieces

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while True:
                if self._inbox:
                    self._session.handle(self._inbox.popleft(), now=trio.current_time())
                self._look()
                if not self._inbox:
                    break
        finally:
            self._pumping = False

    def _look(self) -> None:
        session = self._session
        # First of all: whoever is told may want something, and that is looked at below.
        while (event := session.next_event()) is not None:
            self._hear(event)
        for request in session.requests():
            self._perform(request)
        for connection in session.connections_to_send():
            self._send(connection)
        if self._paused:
            for connection in [number for number in self._paused if not session.paused(number)]:
                self._paused.discard(connection)
                self._lines[connection].pause(False)
        # One that is put off may ring all the same, and is set anew then.
        deadline = session.deadline
        if deadline is not None and deadline < self._rings:
            self._alarm.deadline = self._rings = deadline

    async def run(
        self,
        listeners: Sequence[socket.socket],
        ssl_context: ssl.SSLContext | None,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Do all of the work, until `stop` and until every connection is closed."""
        # What is still to be done with files outlives the connections that it is for.
        async with open_nursery() as self._files:
            try:
                async with open_nursery() as connections:
                    port = Listener(listeners, ssl_context, lambda: self._session.config, self, connections)
                    connections.start_soon(self._ring)
                    with self._listening:
                        task_status.started()
                        await port.listen()
                    connections.cancel_scope.deadline = trio.current_time() + LINGER
                    while self._lines:
                        await self.wait_change()
                    connections.cancel_scope.cancel()
            finally:
                # Whatever ran there has to end, even if this does not end as above.
                lines = list(self._lines.values())
                for line in lines:
                    line.hang_up()
                for line in lines:
                    self.ended(line, "the master ends")
                port.close()

    async def _ring(self) -> None:
        while True:
            deadline = self._session.deadline
            self._rings = math.inf if deadline is None else deadline
            with trio.CancelScope(deadline=self._rings) as self._alarm:
                await trio.sleep_forever()
            self.post(Wakeup())

    def _perform(self, request: Request) -> None:
        match request.effect:
            case CloseConnection(connection, last):
                if connection in self._lines:
                    self._lines[connection].close(last)
            case effect:
                # A master asks for nothing else.
                assert isinstance(effect, FileEffect)
                self._files.start_soon(self._run_file, request.id, effect)

    async def _run_file(self, request: int, effect: FileEffect) -> None:
        """Perform an effect and report.

        If this is cancelled it still has some time: a file that was begun is to be removed, and it has to be known.
        """
        cancelled = threading.Event()
        shelter = trio.CancelScope(shield=True)
        async with open_nursery() as nursery:
            nursery.start_soon(_when_cancelled, cancelled, shelter)
            with shelter:
                done: MasterInput
                try:
                    result = await trio.to_thread.run_sync(
                        files.perform, effect, cancelled, abandon_on_cancel=True, limiter=THREADS
                    )
                    done = Completed(request, result)
                except (OSError, ValueError) as error:
                    done = rejected(request, error)
                self.post(done)
            nursery.cancel_scope.cancel()

    # -- connections

    def accepted(self, line: ServerConnection, peer: str) -> None:
        """See `transports.trio.listener`."""
        self._lines[line.number] = line
        self.post(Accepted(line.number, peer, secrets.token_bytes(16)))

    def refused(self, number: int, peer: str, why: str) -> None:
        """See `transports.trio.listener`."""
        self._hear(LoginFailed(number, peer, None, f"TLS: {why}"))

    def received(self, line: ServerConnection, data: bytes) -> None:
        """See `transports.trio.listener`."""
        self.post(Received(line.number, data))
        if self._session.paused(line.number):
            line.pause(True)
            self._paused.add(line.number)

    def sent(self, line: ServerConnection) -> None:
        """See `transports.trio.listener`."""
        self._send(line.number)

    def ended(self, line: ServerConnection, why: str) -> None:
        """See `transports.trio.listener`."""
        del self._lines[line.number]
        self._paused.discard(line.number)
        self.post(Disconnected(line.number, why))
        self.notify()

    def _send(self, number: int) -> None:
        line = self._lines.get(number)
        if line is not None and line.idle:
            data = self._session.data_to_send(number)
            if data:
                line.send(data)

    # -- what happens

    def _hear(self, event: MasterEvent) -> None:
        match event:
            case SlaveAttached():
                self.slaves[event.slave] = AttachedSlave(self, event)
                self.notify()
            case SlaveDetached():
                self.slaves.pop(event.slave).lose(event.why)
                self.notify()
            case BuildersChanged():
                self.slaves[event.slave].builders = event.builders
                self.notify()
            case ShutdownWanted():
                self.slaves[event.slave].leaving = True
                self.notify()
            case Ponged():
                self.slaves[event.slave].ponged()
            case BuildStarted():
                if event.build in self.builds:
                    self.builds[event.build].started()
            case BuildRefused() | BuildLost():
                if event.build in self.builds:
                    self.builds[event.build].lose(event.why)
                self.notify()
            case StepSpoke():
                if event.step in self.steps:
                    self.steps[event.step].spoke()
            case StepFinished():
                if event.step in self.steps:
                    self.steps[event.step].finished(event.outcome)
            case _:
                pass
        try:
            self._on_event(event)
        except BaseException as error:
            # It ends the master. Raised here it would end a connection first, and a build would miss its slave.
            self._on_event = _ignore
            self._nursery.start_soon(_raise, error)


class AttachedSlave:
    """A slave that is attached."""

    # A master has thousands.
    __slots__ = ("_hub", "_sign", "builders", "busy", "info", "leaving", "lost", "name", "peer")

    def __init__(self, hub: _Hub, attached: SlaveAttached) -> None:
        self.name = attached.slave
        """Its name."""
        self.peer = attached.peer
        """Its address."""
        self.info: SlaveInfo = attached.info
        """What it says of itself."""
        self.builders = attached.builders
        """The names of its builders that are ready."""
        self.leaving = False
        """Whether it wants to go, and gets no build any more."""
        self.lost: str | None = None
        """Why it is gone, None while it is there."""
        self.busy: dict[str, None] = {}
        """The builders that builds have."""
        self._hub = hub
        self._sign: trio.Event | None = None

    def is_idle(self, builder: str) -> bool:
        """Whether a build can be started on a builder now."""
        return self.lost is None and not self.leaving and builder in self.builders and builder not in self.busy

    @contextlib.asynccontextmanager
    async def build(self, builder: str, env: Env | None = None) -> AsyncIterator[Build]:
        """Have a builder as long as the block lasts, after a ping.

        Args:
            builder: the name of one that is idle.
            env: variables for all steps.

        Raises:
            BuildNotStarted: the slave did not want, or did not answer.
            LocalProtocolError: another build has the builder.
        """
        await trio.lowlevel.checkpoint()
        hub = self._hub
        build = Build(hub, self, hub.number(), env or {})
        if self.lost is not None:
            raise BuildNotStarted(self.lost)
        hub.builds[build.number] = build
        try:
            hub.want(StartBuild(build.number, self.name, builder))
            self.busy[builder] = None
            try:
                await build.wait_started()
                yield build
            finally:
                del self.busy[builder]
                hub.want(EndBuild(build.number))
                hub.notify()
        finally:
            del hub.builds[build.number]

    async def ping(self) -> None:
        """Ask for a sign of life.

        Raises:
            SlaveLost: there was none in time, and the slave is given up.
        """
        await trio.lowlevel.checkpoint()
        if self.lost is None:
            sign = self._sign = self._sign or trio.Event()
            self._hub.want(Ping(self.name))
            await sign.wait()
        if self.lost is not None:
            raise SlaveLost(self.lost)

    async def shut_down(self, *, graceful: bool = True) -> None:
        """Ask it to end itself, at once or after its builds, and wait until it is gone."""
        await trio.lowlevel.checkpoint()
        if self.lost is None:
            self._hub.want(ShutDownSlave(self.name, graceful))
        while self.lost is None:
            await self._hub.wait_change()

    def disconnect(self, why: str) -> None:
        """Close its connection."""
        if self.lost is None:
            self._hub.want(Disconnect(self.name, why))

    def ponged(self) -> None:
        """It answered a ping."""
        sign, self._sign = self._sign, None
        if sign is not None:
            sign.set()

    def lose(self, why: str) -> None:
        """It is gone."""
        self.lost = why
        self.ponged()


class Build:
    """A build that has a builder."""

    def __init__(self, hub: _Hub, slave: AttachedSlave, number: int, env: Env) -> None:
        self.number = number
        """Its number, of which there is only one in a master."""
        self.slave = slave
        """Where it is."""
        self.lost: str | None = None
        """Why it has no slave any more, None while it has."""
        self._hub = hub
        self._env = env
        self._begun = trio.Event()

    @contextlib.asynccontextmanager
    async def step(self, what: AnyStep) -> AsyncIterator[RunningStep]:
        """Run a step. The block should read its output to the end.

        If it is left before, or cancelled, the step is interrupted, and what it still says is dropped; if it does not
        end within 10 s, its slave is given up.

        Raises:
            SlaveLost: the slave is gone.
            LocalProtocolError: the build runs another step.
        """
        await trio.lowlevel.checkpoint()
        hub = self._hub
        if self.lost is not None:
            raise SlaveLost(self.lost)
        step = RunningStep(hub, hub.number(), what)
        hub.steps[step.number] = step
        try:
            hub.want(StartStep(step.number, self.number, what, self._env))
            try:
                yield step
            finally:
                await self._abandon(step)
        finally:
            del hub.steps[step.number]

    async def _abandon(self, step: RunningStep) -> None:
        if step.is_over:
            step.drop()
            return
        step.interrupt("nobody waits for it any more")
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
            await step.wait()
        if not step.is_over:
            self.slave.disconnect("it did not end an interrupted step")
        step.drop()

    async def wait_started(self) -> None:
        """Wait until steps can be run; raises BuildNotStarted."""
        await self._begun.wait()
        if self.lost is not None:
            raise BuildNotStarted(self.lost)

    def started(self) -> None:
        """Steps can be run."""
        self._begun.set()

    def lose(self, why: str) -> None:
        """It has no slave any more."""
        self.lost = why
        self._begun.set()


class RunningStep:
    """A step that runs: an asynchronous iterator of its output. Whoever reads slowly slows its slave down."""

    def __init__(self, hub: _Hub, number: int, what: AnyStep) -> None:
        self.number = number
        """Its number, of which there is only one in a master."""
        self.what = what
        """What it does."""
        self._hub = hub
        self._outcome: Outcome | None = None
        self._pieces: deque[Output] = deque()
        self._readers = trio.lowlevel.ParkingLot()

    @property
    def is_over(self) -> bool:
        """Whether it has ended; there may be output that nobody has read."""
        return self._outcome is not None

    @property
    def outcome(self) -> Outcome:
        """How it ended; only after that."""
        if self._outcome is None:
            raise RuntimeError("the step is not over: read its output to the end, or wait for it")
        return self._outcome

    def interrupt(self, why: str) -> None:
        """Ask the slave to end it. Go on reading: it says how it ends."""
        self._hub.want(InterruptStep(self.number, why))

    async def wait(self) -> Outcome:
        """Read the rest of its output, drop it, and return how it ended."""
        async for _ in self:
            pass
        return self.outcome

    def __aiter__(self) -> RunningStep:
        return self

    async def __anext__(self) -> Output:
        # Whoever has to wait lets others run anyway.
        if self._has_pieces() or self.is_over:
            await trio.lowlevel.checkpoint()
        while not self._has_pieces():
            if self.is_over:
                raise StopAsyncIteration
            await self._readers.park()
        return self._pieces.popleft()

    def _has_pieces(self) -> bool:
        if not self._pieces:
            self._take()
        return bool(self._pieces)

    def _take(self) -> None:
        self._pieces.extend(self._hub.output(self.number))

    def spoke(self) -> None:
        """There is output."""
        self._readers.unpark_all()

    def finished(self, outcome: Outcome) -> None:
        """It is over."""
        self._outcome = outcome
        self._readers.unpark_all()

    def drop(self) -> None:
        """Nobody reads what is left."""
        self._take()


def _plain(listener: trio.SocketListener) -> socket.socket:
    """Take a socket back from trio."""
    sock = socket.socket(fileno=listener.socket.detach())
    sock.setblocking(False)
    return sock


async def _raise(error: BaseException) -> None:
    raise error


async def _when_cancelled(cancelled: threading.Event, shelter: trio.CancelScope) -> None:
    try:
        await trio.sleep_forever()
    finally:
        cancelled.set()
        shelter.deadline = trio.current_time() + LINGER
