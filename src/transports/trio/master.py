"""A master under trio: one nursery owns its port, its connections and whatever waits for a file.

async with open_master(config, port=9989) as master:
    slave = await master.wait_attached("ex")
    async with slave.build("runtests") as build, build.step(Shell(command=("make", "test"))) as step:
        async for output in step:
            sys.stdout.buffer.write(output.data)
    print(step.outcome.result, build.result)

A slave that is lost while a step runs is an outcome: the output ends, and the step's result is RETRY, for what it said
until then is still worth reading. To begin something on a slave that is lost is an error: `SlaveLost`, or
`BuildNotStarted`.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping

import trio

from slaveproto.errors import LocalProtocolError
from slaveproto.master import (
    Account,
    AccountWanted,
    AnswerAccount,
    AnswerGuest,
    AnyStep,
    ChangeReceived,
    Configure,
    Disconnect,
    Failure,
    GuestCalled,
    InterruptStep,
    MasterConfig,
    MasterEvent,
    MasterSession,
    Outcome,
    Output,
    Ping,
    Print,
    Progress,
    Result,
    ShutDownSlave,
    SlaveInfo,
    Value,
)
from transports.trio.hub import BuildRecord, Env, Hub, SlaveRecord, StepRecord
from transports.trio.nurseries import open_nursery


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
        config: who may log in. If it asks, or has guests, `on_event` has to see to the answers: `Master.answer_account`
            and `Master.answer_guest`.
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
        hub = Hub(MasterSession(config, resume=secrets.token_bytes(32)), on_event or _ignore, nursery)
        master = Master(hub, listeners[0])
        await nursery.start(hub.run, listeners, ssl_context)
        try:
            yield master
        finally:
            master.stop("the master ends")


class Master:
    """A master that runs; made by `open_master`."""

    def __init__(self, hub: Hub, listener: socket.socket) -> None:
        self._hub = hub
        self.host, self.port = listener.getsockname()[:2]
        self.slaves: Mapping[str, AttachedSlave] = _Slaves(hub)
        """The slaves that are attached, by name."""

    host: str
    """The address that it listens on."""

    port: int
    """The port that it listens on."""

    def __repr__(self) -> str:
        return f"<Master on {self.host}:{self.port}, slaves: {', '.join(sorted(self.slaves)) or 'none'}>"

    def configure(self, config: MasterConfig) -> None:
        """Replace the configuration: see `slaveproto.master.Configure`."""
        self._hub.configure(Configure(config))

    def answer_account(self, event: AccountWanted, account: Account | None) -> None:
        """Answer what was announced because the configuration asks (`MasterConfig(ask=True)`), at once or later.

        Every one has to be answered. A connection that is over by then is fine.

        Args:
            event: the announcement.
            account: whose it is, with the password that counts; None for a user whom you do not know, either.

        Raises:
            LocalProtocolError: it is answered already.
        """
        self._hub.want(AnswerAccount(event.connection, account))

    def answer_guest(self, event: GuestCalled, value: Value | Failure = None) -> None:
        """Answer the call of a guest (`GuestAccount`), at once or later. A connection that is over by then is fine.

        Args:
            event: the announcement.
            value: the answer; a `Failure` makes the call fail.

        Raises:
            LocalProtocolError: it is answered already, or the value cannot be sent.
        """
        self._hub.want(AnswerGuest(event.connection, event.call, value))

    def answer_change(self, event: ChangeReceived, failure: Failure | None = None) -> None:
        """Answer a change that waits for it (`ChangeAccount.confirm`). A connection that is over by then is fine.

        Args:
            event: the announcement.
            failure: the reason why the change is not taken; None if it is.

        Raises:
            LocalProtocolError: it is answered already.
        """
        if event.call is None:
            raise LocalProtocolError("the change does not wait for an answer")
        self._hub.want(AnswerGuest(event.connection, event.call, failure))

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


class _Slaves(Mapping[str, "AttachedSlave"]):
    """The slaves of a hub. A master has thousands, so they are made when they are looked at."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def __getitem__(self, name: str) -> AttachedSlave:
        return AttachedSlave(self._hub, self._hub.slaves[name])

    def __contains__(self, name: object) -> bool:
        return name in self._hub.slaves

    def __iter__(self) -> Iterator[str]:
        return iter(self._hub.slaves)

    def __len__(self) -> int:
        return len(self._hub.slaves)


class AttachedSlave:
    """A slave that is, or was, attached. After it comes again there is another one, which is not equal to this."""

    __slots__ = ("_hub", "_state")

    def __init__(self, hub: Hub, state: SlaveRecord) -> None:
        self._hub = hub
        self._state = state

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AttachedSlave) and self._state is other._state

    def __hash__(self) -> int:
        return hash(self._state)

    def __repr__(self) -> str:
        return (
            f"<AttachedSlave {self.name!r} from {self.peer}{', lost: ' + self.lost if self.lost is not None else ''}>"
        )

    @property
    def name(self) -> str:
        """Its name."""
        return self._state.name

    @property
    def peer(self) -> str:
        """Its address."""
        return self._state.peer

    @property
    def info(self) -> SlaveInfo:
        """The slave's description of itself and its host."""
        return self._state.info

    @property
    def builders(self) -> tuple[str, ...]:
        """The names of its builders that are ready."""
        return self._state.builders

    @property
    def leaving(self) -> bool:
        """Whether it asked to go, and gets no build any more."""
        return self._state.leaving

    @property
    def lost(self) -> str | None:
        """The reason why it is gone, None while it is there."""
        return self._state.lost

    @property
    def idle_builders(self) -> tuple[str, ...]:
        """The names of the builders on which a build can be started now; none if it is gone, or leaving."""
        return self._hub.session.idle_builders(self.name) if self.lost is None else ()

    def is_idle(self, builder: str) -> bool:
        """Whether a build can be started on a builder now."""
        return builder in self.idle_builders

    @contextlib.asynccontextmanager
    async def build(self, builder: str, env: Env | None = None) -> AsyncIterator[Build]:
        """Have a builder as long as the block lasts, after a ping.

        Args:
            builder: the name of one that is idle.
            env: variables for all steps.

        Raises:
            BuildNotStarted: the slave is gone, did not want, or did not answer.
            LocalProtocolError: another build has the builder.
        """
        await trio.lowlevel.checkpoint()
        if self.lost is not None:
            raise BuildNotStarted(self.lost)
        state = self._hub.start_build(self.name, builder)
        try:
            await state.begun.wait()
            if state.lost is not None:
                raise BuildNotStarted(state.lost)
            yield Build(self._hub, self, state, builder, env or {})
        finally:
            self._hub.end_build(state)

    async def ping(self) -> None:
        """Ask for a sign of life.

        Raises:
            SlaveLost: there was none in time, and the slave is given up.
        """
        await trio.lowlevel.checkpoint()
        if self.lost is None:
            sign = self._state.sign = self._state.sign or trio.Event()
            self._hub.want(Ping(self.name))
            await sign.wait()
        if self.lost is not None:
            raise SlaveLost(self.lost)

    def print(self, text: str) -> None:
        """Write a line into its log, for the people there."""
        if self.lost is None:
            self._hub.want(Print(self.name, text))

    async def shut_down(self, *, graceful: bool = True) -> None:
        """Ask it to end itself, at once or after its builds, and wait until it is gone."""
        await trio.lowlevel.checkpoint()
        if self.lost is None:
            self._hub.want(ShutDownSlave(self.name, graceful))
        while self.lost is None:
            await self._hub.wait_change()

    def disconnect(self, why: str) -> None:
        """Close its connection; `why` is for people."""
        if self.lost is None:
            self._hub.want(Disconnect(self.name, why))


class Build:
    """A build that has a builder; made by `AttachedSlave.build`."""

    def __init__(self, hub: Hub, slave: AttachedSlave, state: BuildRecord, builder: str, env: Env) -> None:
        self.slave = slave
        """The slave that it runs on."""
        self.builder = builder
        """The name of the builder."""
        self._hub = hub
        self._state = state
        self._env = env
        self._progress = Progress(())

    def __repr__(self) -> str:
        return f"<Build {self.number} of {self.builder!r} on {self.slave.name!r}: {self.result.word}>"

    @property
    def number(self) -> int:
        """Its number, of which there is only one in a master."""
        return self._state.number

    @property
    def lost(self) -> str | None:
        """The reason why it has no slave any more, None while it has."""
        return self._state.lost

    @property
    def result(self) -> Result:
        """The result by the steps that are over, each counted as its flags say; RETRY if the slave was lost in one.

        The flags are `halt_on_failure`, `flunk_on_failure`, `warn_on_failure`, ... of `slaveproto.master.Step`.
        """
        return self._progress.result

    def wants(self, step: AnyStep) -> bool:
        """Whether a step should still be run: no step before it ended the build, or it runs always."""
        return self.lost is None and (not self._progress.halted or step.always_run)

    async def run(
        self, steps: Iterable[AnyStep], read: Callable[[RunningStep], Awaitable[object]] | None = None
    ) -> Result:
        """Run one step after the other, without those that the build does not want any more: see `wants`.

        Args:
            steps: in their order.
            read: is awaited with each step as it begins, to read its output; what it leaves unread is dropped. None
                drops all.

        Returns:
            How the build stands. A slave that is lost is no exception here: RETRY.
        """
        for what in steps:
            if self.lost is None and not self.wants(what):
                continue
            try:
                async with self.step(what) as step:
                    if read is not None:
                        await read(step)
                    await step.wait()
            except SlaveLost:
                break
        return self.result

    @contextlib.asynccontextmanager
    async def step(self, what: AnyStep) -> AsyncIterator[RunningStep]:
        """Run a step, whatever the steps before it came to. The block should read its output to the end.

        If it is left before, or cancelled, the step is interrupted, and what it still says is dropped; if it does not
        end within 10 s, its slave is given up.

        A slave that is lost meanwhile ends the output, and the outcome is RETRY.

        Raises:
            SlaveLost: the slave was lost before.
            LocalProtocolError: the build runs another step.
        """
        await trio.lowlevel.checkpoint()
        if self.lost is not None:
            self._progress.cancel(Result.RETRY)
            raise SlaveLost(self.lost)
        state = self._hub.start_step(self._state, what, self._env)
        try:
            yield RunningStep(self._hub, state, what)
        finally:
            await self._hub.end_step(state)
            if state.outcome is not None:
                self._progress.record(what, state.outcome.result)


class RunningStep:
    """A step that runs: an asynchronous iterator of its output. A slow reader slows its slave down."""

    def __init__(self, hub: Hub, state: StepRecord, what: AnyStep) -> None:
        self.what = what
        """The step itself."""
        self._hub = hub
        self._state = state
        self._pieces: deque[Output] = deque()

    def __repr__(self) -> str:
        return (
            f"<RunningStep {self.number} {self.what.title!r}: {self.outcome.result.word if self.is_over else 'runs'}>"
        )

    @property
    def number(self) -> int:
        """Its number, of which there is only one in a master."""
        return self._state.number

    @property
    def is_over(self) -> bool:
        """Whether it has ended; there may be output that is not read yet."""
        return self._state.outcome is not None

    @property
    def outcome(self) -> Outcome:
        """The end of the step.

        Raises:
            RuntimeError: it has not.
        """
        if self._state.outcome is None:
            raise RuntimeError("the step is not over: read its output to the end, or wait for it")
        return self._state.outcome

    def interrupt(self, why: str) -> None:
        """Ask the slave to end it; `why` is for people. Go on reading: it says how it ends."""
        self._hub.want(InterruptStep(self.number, why))

    async def wait(self) -> Outcome:
        """Read the rest of its output, drop it, and return how it ended."""
        async for _ in self:
            pass
        return self.outcome

    def __aiter__(self) -> RunningStep:
        return self

    async def __anext__(self) -> Output:
        # A task that has to wait lets others run anyway.
        if self._has_pieces() or self.is_over:
            await trio.lowlevel.checkpoint()
        while not self._has_pieces():
            if self.is_over:
                raise StopAsyncIteration
            await self._state.readers.park()
        return self._pieces.popleft()

    def _has_pieces(self) -> bool:
        if not self._pieces:
            self._pieces.extend(self._hub.output(self.number))
        return bool(self._pieces)


def _plain(listener: trio.SocketListener) -> socket.socket:
    """Take a socket back from trio."""
    sock = socket.socket(fileno=listener.socket.detach())
    sock.setblocking(False)
    return sock


def _ignore(event: MasterEvent) -> None:
    """Do nothing with an announcement."""
