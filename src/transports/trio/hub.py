"""The hub of a trio master: drives a `MasterSession`, and tells what programs hold about its announcements.

Rules:

* There is one owner. Everything here runs in trio's thread; only file effects are performed in others.
* What happens (`post`) waits for its turn while the session is being pumped. What a program wants (`want`) is handed
  over at once, even while an announcement is being told, since an illegal wish has to raise where it was made.
* Announcements come before requests and bytes: a program that is told of one may want something, which has to leave at
  once.
* An alarm may ring too early, never too late. It is set anew when it has rung, and meanwhile only for an earlier
  deadline: most deadlines are put off again and again, and following each of them would cost more than ringing in vain.
* An exception of `on_event` ends the nursery, not the task that told it. Raised there it would end that connection
  first, and builds would report a lost slave beside the real reason.
* File effects live in a nursery around that of the connections: they outlive the connections that they are for, and for
  at most `LINGER` seconds a cancellation, for it has to be known which half-written file is to be removed.

Nothing about the protocol is decided here. Who may log in, who is given up and when, and what is idle, the session
knows.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import trio

from slaveproto.effects import CloseConnection, CountUnacknowledged, FileEffect, Request
from slaveproto.inputs import Completed, Disconnected, Received, Stop, Wakeup
from slaveproto.master import (
    AbandonStep,
    Accepted,
    AccountWanted,
    AnyStep,
    BuildersChanged,
    BuildLost,
    BuildRefused,
    BuildStarted,
    ChangeReceived,
    EndBuild,
    EnvValue,
    GuestCalled,
    LoginFailed,
    MasterEvent,
    MasterInput,
    MasterNotice,
    MasterSession,
    Outcome,
    Output,
    Ponged,
    Secured,
    ShutdownWanted,
    SlaveAttached,
    SlaveBack,
    SlaveCut,
    SlaveDetached,
    StartBuild,
    StartStep,
    StepFinished,
    StepSpoke,
)
from transports.host import sockets
from transports.trio.file_effects import perform_in_thread
from transports.trio.listener import Listener, Report, Sent, ServerConnection
from transports.trio.nurseries import open_nursery

PATIENCE = 10.0
"""Seconds that a step which the program no longer waits for has to end, before its slave is given up."""

Env = Mapping[str, EnvValue]
"""Variables of a build."""


class SlaveRecord:
    """A slave, as its announcements describe it."""

    # A master has thousands.
    __slots__ = ("builders", "info", "leaving", "lost", "name", "peer", "sign")

    def __init__(self, attached: SlaveAttached) -> None:
        self.name = attached.slave
        self.peer = attached.peer
        self.info = attached.info
        self.builders = attached.builders
        self.leaving = False
        self.lost: str | None = None
        self.sign: trio.Event | None = None
        """Set by the answer to a ping, None if none is under way."""

    def ponged(self) -> None:
        """Wake who waits for a sign of life."""
        sign, self.sign = self.sign, None
        if sign is not None:
            sign.set()


class BuildRecord:
    """A build, as its announcements describe it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lost: str | None = None
        self.begun = trio.Event()
        """Set when the build has started, or never will."""

    def lose(self, why: str) -> None:
        """Note that there is no slave any more, or that there never was."""
        self.lost = why
        self.begun.set()


class StepRecord:
    """A step, as its announcements describe it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.outcome: Outcome | None = None
        self.readers = trio.lowlevel.ParkingLot()


class Hub:
    """Drives the session. Connections and files bring it news, what programs hold bring it their wishes.

    Args:
        session: the session; nothing else may touch it.
        on_event: is told every announcement, until it raises something.
        nursery: ends if it does.
    """

    def __init__(
        self,
        session: MasterSession,
        on_event: Callable[[MasterEvent], None],
        nursery: trio.Nursery,
    ) -> None:
        self.slaves: dict[str, SlaveRecord] = {}
        self.session = session
        self._builds: dict[int, BuildRecord] = {}
        self._steps: dict[int, StepRecord] = {}
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

    # -- for what programs hold

    async def wait_change(self) -> None:
        """Wait until a slave comes or goes, or what is idle may have changed."""
        await self._waiting.park()

    def want(self, item: MasterInput) -> None:
        """Hand over what a program wants.

        Raises:
            LocalProtocolError: it is not possible as things are; nothing changed.
        """
        self.session.handle(item, now=trio.current_time())
        self._pump()

    def start_build(self, slave: str, builder: str) -> BuildRecord:
        """Begin a build; raises as `want`. It has to be ended, however it goes."""
        build = BuildRecord(self._number())
        self._builds[build.number] = build
        try:
            self.want(StartBuild(build.number, slave, builder))
        except BaseException:
            del self._builds[build.number]
            raise
        return build

    def end_build(self, build: BuildRecord) -> None:
        """Give the builder back."""
        del self._builds[build.number]
        self.want(EndBuild(build.number))
        self._notify()

    def start_step(self, build: BuildRecord, what: AnyStep, env: Env) -> StepRecord:
        """Begin a step; raises as `want`. It has to be forgotten, however it goes."""
        step = StepRecord(self._number())
        self._steps[step.number] = step
        try:
            self.want(StartStep(step.number, build.number, what, env))
        except BaseException:
            del self._steps[step.number]
            raise
        return step

    async def end_step(self, step: StepRecord) -> None:
        """Drop what a step still says, wait until it is over, and forget it.

        It is interrupted if it runs. The session gives its slave up if that takes too long, so this waits even if it is
        cancelled.
        """
        try:
            self.want(AbandonStep(step.number, PATIENCE))
            with trio.CancelScope(shield=True):
                while step.outcome is None:
                    await step.readers.park()
        finally:
            del self._steps[step.number]

    def output(self, step: int) -> list[Output]:
        """Return what a step, by its number, said since the last time."""
        pieces = self.session.output(step)
        if self._paused:
            # One may be read again.
            self._pump()
        else:
            self._set_alarm()
        return pieces

    def configure(self, item: MasterInput) -> None:
        """Hand over a configuration, with which other builders may be idle."""
        self.want(item)
        self._notify()

    def stop(self, why: str) -> None:
        """End everything."""
        self._listening.cancel()
        self.post(Stop(why))

    def _number(self) -> int:
        """Return a number that no build and no step has."""
        self._numbers += 1
        return self._numbers

    def _notify(self) -> None:
        self._waiting.unpark_all()

    # -- the session

    def post(self, item: MasterInput) -> None:
        """Hand over what happened; what happens on the way waits for its turn."""
        self._inbox.append(item)
        self._pump()

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while True:
                if self._inbox:
                    self.session.handle(self._inbox.popleft(), now=trio.current_time())
                self._look()
                if not self._inbox:
                    break
        finally:
            self._pumping = False

    def _look(self) -> None:
        session = self.session
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
        self._set_alarm()

    def _set_alarm(self) -> None:
        deadline = self.session.deadline
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
        async with open_nursery() as self._files:
            try:
                async with open_nursery() as connections:
                    port = Listener(listeners, ssl_context, self.report, connections)
                    connections.start_soon(self._ring)
                    with self._listening:
                        task_status.started()
                        await port.listen()
                    connections.cancel_scope.deadline = trio.current_time() + sockets.LINGER
                    while self._lines:
                        await self.wait_change()
                    connections.cancel_scope.cancel()
            finally:
                # Steps that run there have to end, even if this does not end as above.
                lines = list(self._lines.values())
                for line in lines:
                    line.hang_up()
                for line in lines:
                    self.report(line, Disconnected(line.number, "the master ends"))
                # A slave whose link can be lost is there still.
                self.post(Stop("the master ends"))
                port.close()

    async def _ring(self) -> None:
        while True:
            deadline = self.session.deadline
            self._rings = math.inf if deadline is None else deadline
            with trio.CancelScope(deadline=self._rings) as self._alarm:
                await trio.sleep_forever()
            self.post(Wakeup())

    def _perform(self, request: Request) -> None:
        match request.effect:
            case CloseConnection(connection, last):
                if connection in self._lines:
                    self._lines[connection].close(last)
            case CountUnacknowledged(connection):
                line = self._lines.get(connection)
                self.post(Completed(request.id, 0 if line is None else line.unacknowledged))
            case effect:
                # A master asks for nothing else.
                assert isinstance(effect, FileEffect)
                self._files.start_soon(self._run_file, request.id, effect)

    async def _run_file(self, request: int, effect: FileEffect) -> None:
        cancelled = threading.Event()
        shelter = trio.CancelScope(shield=True)
        async with open_nursery() as nursery:
            nursery.start_soon(_when_cancelled, cancelled, shelter)
            with shelter:
                self.post(await perform_in_thread(request, effect, cancelled))
            nursery.cancel_scope.cancel()

    # -- connections

    def report(self, line: ServerConnection, item: Report) -> None:
        """Take what a connection reports."""
        match item:
            case Received():
                self.post(item)
                if self.session.paused(line.number):
                    line.pause(True)
                    self._paused.add(line.number)
            case Sent():
                self._send(line.number)
            case Accepted():
                self._lines[line.number] = line
                self.post(item)
            case Secured():
                self.post(item)
            case Disconnected():
                del self._lines[line.number]
                self._paused.discard(line.number)
                self.post(item)
                self._notify()
            case _:
                assert_never(item)

    def _send(self, number: int) -> None:
        line = self._lines.get(number)
        while line is not None and line.idle and (data := self.session.data_to_send(number)):
            line.send(data)

    # -- announcements

    def _hear(self, event: MasterEvent) -> None:
        match event:
            case StepSpoke():
                if event.step in self._steps:
                    self._steps[event.step].readers.unpark_all()
            case StepFinished():
                if event.step in self._steps:
                    self._steps[event.step].outcome = event.outcome
                    self._steps[event.step].readers.unpark_all()
            case SlaveAttached():
                self.slaves[event.slave] = SlaveRecord(event)
                self._notify()
            case SlaveDetached():
                slave = self.slaves.pop(event.slave)
                slave.lost = event.why
                slave.ponged()
                self._notify()
            case BuildersChanged():
                self.slaves[event.slave].builders = event.builders
                self._notify()
            case SlaveCut() | SlaveBack():
                # Other builders are idle.
                self._notify()
            case ShutdownWanted():
                self.slaves[event.slave].leaving = True
                self._notify()
            case Ponged():
                self.slaves[event.slave].ponged()
            case BuildStarted():
                if event.build in self._builds:
                    self._builds[event.build].begun.set()
            case BuildRefused() | BuildLost():
                if event.build in self._builds:
                    self._builds[event.build].lose(event.why)
                self._notify()
            case AccountWanted() | GuestCalled() | LoginFailed() | ChangeReceived() | MasterNotice():
                # For `on_event` alone.
                pass
            case _:
                assert_never(event)
        try:
            self._on_event(event)
        except BaseException as error:
            self._on_event = _ignore
            self._nursery.start_soon(_raise, error)


def _ignore(event: MasterEvent) -> None:
    """Do nothing with an announcement."""


async def _raise(error: BaseException) -> None:
    raise error


async def _when_cancelled(cancelled: threading.Event, shelter: trio.CancelScope) -> None:
    try:
        await trio.sleep_forever()
    finally:
        cancelled.set()
        shelter.deadline = trio.current_time() + sockets.LINGER
