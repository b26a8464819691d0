"""A whole master: with a host in memory, and any number of peers at the other ends of its connections."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import attrs

from slaveproto.commands.registry import COMMANDS, Command
from slaveproto.effects import CloseConnection, CountUnacknowledged, OpenConnection, ProcessOutput, Request
from slaveproto.inputs import Completed, Disconnected, Received, Rejected, Wakeup
from slaveproto.master.config import MasterConfig, SlaveAccount
from slaveproto.master.events import Accepted, MasterEvent, MasterInput, StepFinished, StepSpoke
from slaveproto.master.output import Output
from slaveproto.master.session import MasterSession
from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.events import Connected, Input, SlaveEvent, Start
from slaveproto.slave.session import SlaveSession
from slaveproto.testing.memory_host import MemoryChild, MemoryHost
from slaveproto.testing.scripted_slave import ScriptedSlave
from slaveproto.testing.settling import Settling

E = TypeVar("E", bound=MasterEvent)


class DriverPeer(Protocol):
    """Peer at the other end of a connection."""

    def hear(self, data: bytes) -> None:
        """Take bytes of the master."""

    def data_to_send(self) -> bytes:
        """Return bytes for the master and forget them."""

    def end(self) -> None:
        """The connection is over."""


class RawPeer:
    """A peer that says nothing but what it is told to, byte by byte."""

    def __init__(self) -> None:
        self.heard = b""
        """All bytes of the master."""
        self.open = True
        """Whether the connection is there."""
        self.outgoing = b""
        """Bytes that are still to be sent."""

    def hear(self, data: bytes) -> None:
        """Keep bytes of the master."""
        self.heard += data

    def data_to_send(self) -> bytes:
        """Return bytes for the master and forget them."""
        data, self.outgoing = self.outgoing, b""
        return data

    def end(self) -> None:
        """The connection is over."""
        self.open = False


@attrs.define(eq=False)
class MasterLink:
    """One connection to the master.

    Args:
        number: of the connection.
        peer: who is at the other end.
        open: whether it is there.
        listening: whether the peer reads; if not, what the master sends waits.
        unacknowledged: the bytes that the peer's system has not acknowledged of what the master sent.
        flights: the bytes in the order in which they crossed, each with `master` or `peer` as its sender; all that one
            side says without hearing the other is one flight.
    """

    number: int
    peer: DriverPeer
    open: bool = True
    listening: bool = True
    unacknowledged: int = 0
    flights: list[tuple[str, bytes]] = attrs.field(factory=list)

    def record(self, sender: str, data: bytes) -> None:
        """Note that bytes crossed."""
        if self.flights and self.flights[-1][0] == sender:
            data = self.flights.pop()[1] + data
        self.flights.append((sender, data))


class OwnSlave:
    """A `SlaveSession` as a peer, with a host in memory of its own.

    Args:
        driver: of the master.
        config: who the slave is.
        info: what its host is.
        commands: what the master may start.
        host: performs its requests.
        resume: see `SlaveSession`.
    """

    def __init__(
        self,
        driver: MasterDriver,
        config: SlaveConfig | None = None,
        info: HostInfo | None = None,
        *,
        commands: Mapping[str, Command] = COMMANDS,
        host: MemoryHost | None = None,
        resume: bytes | None = None,
    ) -> None:
        config = config or SlaveConfig("master", 9989, "bot1", "secret", "/slave")
        info = info or HostInfo({"PATH": "/bin"}, "posix", 2, {"ID": "debian"}, "1.0")
        self.session = SlaveSession(config, info, lambda delay: delay, commands, resume=resume)
        self.host = host or MemoryHost()
        self.events: list[SlaveEvent] = []
        """All that it announced."""
        self.requests: list[Request] = []
        """All that it asked for."""
        self.link: MasterLink | None = None
        """Its present connection."""
        self.reachable = True
        """Whether the master can be reached."""
        self._driver = driver
        self._reports: deque[Input] = deque()
        self._connection = 0

    def hear(self, data: bytes) -> None:
        """Take bytes of the master."""
        self._reports.append(Received(self._connection, data))

    def data_to_send(self) -> bytes:
        """Return bytes for the master and forget them."""
        return self.session.data_to_send()

    def end(self) -> None:
        """The connection is over."""
        self.link = None
        number, self._connection = self._connection, 0
        self._reports.append(Disconnected(number, ""))

    def handle(self, *items: Input) -> None:
        """Hand inputs to the session, and let everything follow that they lead to."""
        self._reports.extend(items)
        self._driver.settle()

    def output(self, child: MemoryChild, data: bytes, stream: str = "stdout") -> None:
        """Let a child write."""
        self.handle(ProcessOutput(child.number, stream, data))

    def finish(self, child: MemoryChild, code: int = 0, signal: int | None = None) -> None:
        """Let a child end by itself, with its streams."""
        self.handle(*self.host.end(child.number, code, signal))

    def work(self) -> bool:
        """Take what was reported; return whether there was anything."""
        worked = bool(self._reports)
        while self._reports:
            self.session.handle(self._reports.popleft(), now=self._driver.now)
            for request in self.session.requests():
                self.requests.append(request)
                self._perform(request)
            while (event := self.session.next_event()) is not None:
                self.events.append(event)
        return worked

    def _perform(self, request: Request) -> None:
        match request.effect:
            case OpenConnection() if not self.reachable:
                self._reports.append(Disconnected(request.id, "Connection refused"))
            case OpenConnection():
                self._connection = request.id
                self.link = self._driver.accept(self)
                self._reports.append(Connected(request.id))
            case CloseConnection(connection, last):
                link, self.link = self.link, None
                if link is not None and connection == self._connection:
                    self._connection = 0
                    self._driver.hang_up(link, last)
            case CountUnacknowledged():
                self._reports.append(Completed(request.id, 0))
            case _:
                self._reports.extend(self.host.perform(request))


class MasterDriver(Settling):
    """A `MasterSession` with a host in memory and peers at the other ends. Time passes only in `advance`.

    Args:
        config: who may come; the slave `bot1` with the password `secret` and two builders if not given.
        session: the session, if it is not to be one of that configuration.
        host: performs its requests.
    """

    def __init__(
        self,
        config: MasterConfig | None = None,
        *,
        session: MasterSession | None = None,
        host: MemoryHost | None = None,
    ) -> None:
        super().__init__()
        account = SlaveAccount("bot1", "secret", {"linux": "linux-dir", "mac": "mac"})
        self.session = session or MasterSession(config or MasterConfig({account.name: account}))
        self.host = host or MemoryHost()
        self.inputs: list[tuple[float, MasterInput]] = []
        """All that the session was handed: enough to repeat it."""
        self.events: list[MasterEvent] = []
        """All that it announced."""
        self.outputs: dict[int, list[Output]] = {}
        """Output of the steps, as far as it was taken."""
        self.takes_output = True
        """Whether the driver takes the output of steps."""
        self.links: dict[int, MasterLink] = {}
        """Every connection so far, by its number."""
        self.own_slaves: list[OwnSlave] = []
        """All slave sessions so far."""
        self.address = ""
        """The address that connections come from, from now on."""
        self._spoke: dict[int, None] = {}
        self._reports: deque[MasterInput] = deque()

    # -- who comes

    def connect(
        self,
        generation: str = "4.3",
        name: str | bytes = "bot1",
        password: str = "secret",
        *,
        mind: bool = True,
        login: bool = True,
        secure: bool = True,
        prepare: Callable[[ScriptedSlave], None] = lambda slave: None,
    ) -> ScriptedSlave:
        """Let a scripted slave connect, and log in unless that is not wanted.

        `prepare` may change the slave before it hears the first byte; without `secure` it hears none before `Secured`.
        """
        user = name if isinstance(name, bytes) else name.encode()
        slave = ScriptedSlave(self.settle, user, password.encode(), generation, mind=mind, login=login)
        prepare(slave)
        self.accept(slave, secure=secure)
        self.settle()
        return slave

    def connect_raw(self, *, secure: bool = True) -> RawPeer:
        """Let a peer connect that says nothing by itself."""
        peer = RawPeer()
        self.accept(peer, secure=secure)
        self.settle()
        return peer

    def connect_own(
        self,
        config: SlaveConfig | None = None,
        info: HostInfo | None = None,
        *,
        commands: Mapping[str, Command] = COMMANDS,
        host: MemoryHost | None = None,
        resume: bytes | None = None,
    ) -> OwnSlave:
        """Let a slave session of ours connect."""
        slave = OwnSlave(self, config, info, commands=commands, host=host, resume=resume)
        self.own_slaves.append(slave)
        slave.handle(Start())
        return slave

    def accept(self, peer: DriverPeer, *, secure: bool = True) -> MasterLink:
        """Open a connection to a peer. Nothing follows before `settle`, and without `secure` before `Secured`."""
        number = len(self.links) + 1
        link = MasterLink(number, peer)
        self.links[number] = link
        self._reports.append(Accepted(number, f"peer {number}", number.to_bytes(16, "big"), secure, self.address))
        return link

    def link_of(self, peer: DriverPeer) -> MasterLink:
        """Return the newest connection of a peer."""
        return next(link for link in reversed(self.links.values()) if link.peer is peer)

    def lose(self, peer: DriverPeer, why: str = "") -> None:
        """Let a connection end from outside; `why` is the operating system's reason, empty for an orderly end."""
        link = self.link_of(peer)
        link.open = False
        peer.end()
        self.handle(Disconnected(link.number, why))

    def hang_up(self, link: MasterLink, last: bytes) -> None:
        """The peer closes a connection, after some last bytes."""
        link.open = False
        if last:
            link.record("peer", last)
            self._reports.append(Received(link.number, last))
        self._reports.append(Disconnected(link.number, ""))

    def send(self, peer: RawPeer, data: bytes) -> None:
        """Let a raw peer say something."""
        peer.outgoing += data
        self.settle()

    # -- what happens

    def handle(self, *items: MasterInput) -> None:
        """Hand inputs to the session, and let everything follow that they lead to.

        Raises:
            LocalProtocolError: the session does not take one of them.
        """
        self._reports.extend(items)
        self.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass, waking every session at each of its deadlines on the way."""
        end = self.now + seconds
        while (due := self._deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            for slave in self.own_slaves:
                slave.handle(Wakeup())
            self.handle(Wakeup())
        self.now = end

    def _deadline(self) -> float | None:
        times = [self.session.deadline, *(slave.session.deadline for slave in self.own_slaves)]
        return min((time for time in times if time is not None), default=None)

    def events_of(self, kind: type[E]) -> list[E]:
        """Return all announcements of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def text(self, step: int, log: str = "stdio", stream: str | None = None) -> bytes:
        """Return what a step said in a log, or in one stream of it."""
        pieces = self.outputs.get(step, [])
        return b"".join(p.data for p in pieces if p.log == log and stream in (None, p.stream))

    def take_output(self) -> None:
        """Take what the steps that spoke have said, from now on always."""
        self.takes_output = True
        self._take_output()
        self.settle()

    def _pump(self) -> bool:
        if self._reports:
            self.feed(self._reports.popleft())
            return True
        working = [slave for slave in self.own_slaves if slave.work()]
        if working:
            return True
        moved = False
        for link in self.links.values():
            if link.open and link.listening and (data := self.session.data_to_send(link.number)):
                link.record("master", data)
                link.peer.hear(data)
                moved = True
        if moved:
            return True
        for link in self.links.values():
            if link.open and not self.session.paused(link.number) and (data := link.peer.data_to_send()):
                link.record("peer", data)
                self._reports.append(Received(link.number, data))
                moved = True
        if not moved and (due := self.session.deadline) is not None and due <= self.now:
            self._reports.append(Wakeup())
            moved = True
        return moved

    def feed(self, item: MasterInput) -> None:
        """Hand one input to the session and look at all of its doors."""
        self.inputs.append((self.now, item))
        self.session.handle(item, now=self.now)
        self.session.connections_to_send()
        self._start(self.session.requests())
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, (StepSpoke, StepFinished)):
                self._spoke[event.step] = None
        self._take_output()

    def _take_output(self) -> None:
        if self.takes_output:
            spoke, self._spoke = self._spoke, {}
            for step in spoke:
                self.outputs.setdefault(step, []).extend(self.session.output(step))

    def _perform(self, request: Request) -> None:
        match request.effect:
            case CloseConnection(number, last):
                link = self.links[number]
                if link.open:
                    link.open = False
                    if last and link.listening:
                        link.record("master", last)
                        link.peer.hear(last)
                    link.peer.end()
            case CountUnacknowledged(number):
                self._reports.append(Completed(request.id, self.links[number].unacknowledged))
            case _:
                for report in self.host.perform(request):
                    assert isinstance(report, (Completed, Rejected))
                    self._reports.append(report)
