"""A client, a server and a network that fails, in virtual time.

Rules:

* A carrier is one TCP connection. A `Fault` strikes when so many bytes, both directions together, have arrived over it.
  The next carrier has the next fault of the plan; after the last one nothing fails any more.
* Each side sends what it is given, in pieces, and ends its direction. The other side takes what arrives.
* The seed decides in what pieces and when bytes are sent, arrive and are taken; the same seed makes the same world.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from enum import Enum, auto
from heapq import heappop, heappush
from typing import Final

import attrs

from slaveproto.resume import (
    Arrived,
    CarrierBack,
    CarrierLost,
    CarrierOver,
    DialWanted,
    HangUpWanted,
    PlainCame,
    PlainPeer,
    ResumableStream,
    ResumePolicy,
    ResumingClient,
    ResumingServer,
    StreamCame,
    StreamOpened,
    StreamOver,
)

FROZEN: Final = 20.0
"""Seconds of a stall: no reason to drop a carrier."""

SECRET: Final = b"s" * 32
SEED: Final = b"c" * 32


class Kind(Enum):
    """Things that happen to a carrier."""

    CUT = auto()
    """It ends for both sides; what was on its way is lost."""
    CLIENT_ONLY = auto()
    """It ends for the client, which comes again, while the server is told nothing."""
    SERVER_ONLY = auto()
    """It ends for the server; the client is told nothing."""
    BLACK_HOLE = auto()
    """Nothing arrives any more, and neither side is told."""
    STALL = auto()
    """Nothing arrives for a while."""
    TRICKLE = auto()
    """From then on, one byte at a time arrives."""
    LATE = auto()
    """It ends for the client; what was on its way to the server arrives after the next carrier has begun."""
    REPLAY = auto()
    """It is cut, and a stranger sends all that the client said on it again, on a connection of its own."""


@attrs.frozen
class Fault:
    """One thing that happens, after so many bytes of a carrier."""

    kind: Kind
    after: int
    outage: float = 0.0
    """Seconds in which connections are refused then."""


@attrs.define(eq=False)
class Carrier:
    """One connection: what is on its way, in both directions."""

    number: int
    fault: Fault | None
    stranger: bool = False
    arrived: int = 0
    client_open: bool = True
    server_open: bool = True
    hole: bool = False
    trickle: bool = False
    late: bool = False
    held_until: float = 0.0
    to_client: bytearray = attrs.Factory(bytearray)
    to_server: bytearray = attrs.Factory(bytearray)
    said: bytearray = attrs.Factory(bytearray)
    scheduled: set[str] = attrs.Factory(set)


@attrs.define
class User:
    """What one side sends and got."""

    sends: bytes
    position: int = 0
    ended: bool = False
    got: bytearray = attrs.Factory(bytearray)
    got_end: bool = False


class World:
    """Two ends and what is between them.

    Args:
        up: what the client sends.
        down: what the server sends.
        faults: of the carriers, one after the other.
        seed: of all that is drawn.
        policy: of both ends.
        pieces: most bytes of what is sent, or arrives, at a time.
    """

    def __init__(
        self,
        up: bytes,
        down: bytes,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        policy: ResumePolicy = ResumePolicy(),  # noqa: B008  frozen
        pieces: int = 40,
    ) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self.faults = list(faults)
        self.pieces = pieces
        self.client_user, self.server_user = User(up), User(down)
        self.server = ResumingServer(SECRET, policy)
        self.client = ResumingClient(SEED, lambda most: self.dice.uniform(0, most), policy)
        self.carriers: dict[int, Carrier] = {}
        self.last = 0
        self.current: Carrier | None = None
        self.stream: int | None = None
        self.streams_opened = 0
        self.refused_until = 0.0
        self.client_over: str | None = None
        self.server_over: str | None = None
        self.opened = False
        self.losses = 0
        self.backs: list[float] = []
        self.most_kept = 0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._wakeups: set[float] = set()

    # -- time

    def at(self, delay: float, what: Callable[[], None]) -> None:
        """Have something happen later."""
        self._count += 1
        heappush(self._agenda, (self.now + delay, self._count, what))

    def run(self, until: float = 1e6, stop: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until both ends are over."""
        self._settle()
        while self._agenda and not stop() and not (self.client_over is not None and self.server_over is not None):
            when, _, what = heappop(self._agenda)
            if when > until:
                self.now = until
                return
            self.now = max(self.now, when)
            what()
            self._settle()

    def _settle(self) -> None:
        again = True
        while again:
            again = self._read_client() | self._read_server()
            self._write()
        for end in (self.client, self.server):
            due = end.deadline
            if due is not None and due not in self._wakeups:
                self._wakeups.add(due)
                self.at(max(0.0, due - self.now), lambda due=due: self._wake(due))  # type: ignore[misc]

    def _wake(self, due: float) -> None:
        self._wakeups.discard(due)
        self.client.wakeup(self.now)
        self.server.wakeup(self.now)

    # -- the two owners

    def _read_client(self) -> bool:
        seen = False
        while (event := self.client.next_event()) is not None:
            seen = True
            match event:
                case DialWanted():
                    self.at(0.01, self._dial)
                case StreamOpened():
                    self.opened = True
                    self.at(0.0, self._client_speaks)
                case HangUpWanted():
                    self._write()
                    if self.current is not None:
                        self._close_client(self.current)
                case CarrierLost():
                    self.losses += 1
                    self.current = None
                case CarrierBack(_, _, seconds):
                    self.backs.append(seconds)
                case Arrived():
                    self.at(self.dice.random() * 0.1, self._client_takes)
                case StreamOver(_, why):
                    self._client_takes()
                    assert self.client_over is None
                    self.client_over = why
                case PlainPeer():
                    raise AssertionError("the server is not plain")
        return seen

    def _read_server(self) -> bool:
        seen = False
        while (event := self.server.next_event()) is not None:
            seen = True
            match event:
                case StreamCame(stream):
                    self.stream = stream
                    self.streams_opened += 1
                    self.at(0.0, self._server_speaks)
                case Arrived():
                    self.at(self.dice.random() * 0.1, self._server_takes)
                case CarrierOver(number):
                    data = self.server.data_to_send(number)
                    carrier = self.carriers[number]
                    carrier.to_client += data
                    self._flush(carrier)
                    carrier.server_open = False
                    self._end_arrives(carrier, carrier.to_client, self._tell_client)
                case StreamOver(_, why):
                    self._server_takes()
                    assert self.server_over is None
                    self.server_over = why
                case CarrierLost() | CarrierBack():
                    pass
                case PlainCame():
                    raise AssertionError("the client is not plain")
        return seen

    def _write(self) -> None:
        current = self.current
        if current is not None and current.client_open:
            while len(current.to_server) < 2000 and (data := self.client.data_to_send()):
                current.to_server += data
                current.said += data
                self._flush(current)
        for number in self.server.carriers_to_send():
            self._write_server(number)
        for user, end in ((self.client_user, self.client.stream), (self.server_user, self._server_stream())):
            if end is not None:
                self.most_kept = max(self.most_kept, end.unacknowledged)
            assert user.position <= len(user.sends)

    def _write_server(self, number: int) -> None:
        carrier = self.carriers[number]
        while len(carrier.to_client) < 2000 and (data := self.server.data_to_send(number)):
            if carrier.server_open:
                carrier.to_client += data
                self._flush(carrier)

    def _server_stream(self) -> ResumableStream | None:
        return None if self.stream is None else self.server.stream(self.stream)

    def _client_speaks(self) -> None:
        user = self.client_user
        if self.client_over is not None or user.ended:
            return
        if user.position == len(user.sends):
            user.ended = True
            self.client.end()
            return
        size = self.dice.randint(1, self.pieces)
        if not self.client.stream.congested:
            self.client.send(user.sends[user.position : user.position + size])
            user.position = min(user.position + size, len(user.sends))
        self.at(self.dice.random() * 0.5, self._client_speaks)

    def _server_speaks(self) -> None:
        user, stream = self.server_user, self.stream
        assert stream is not None
        if self.server_over is not None or user.ended:
            return
        if user.position == len(user.sends):
            user.ended = True
            self.server.end(stream)
            return
        size = self.dice.randint(1, self.pieces)
        end = self.server.stream(stream)
        if end is not None and not end.congested:
            self.server.send(stream, user.sends[user.position : user.position + size])
            user.position = min(user.position + size, len(user.sends))
        self.at(self.dice.random() * 0.5, self._server_speaks)

    def _client_takes(self) -> None:
        self.client_user.got += self.client.take()
        self.client_user.got_end = self.client.stream.peer_ended

    def _server_takes(self) -> None:
        assert self.stream is not None
        self.server_user.got += self.server.take(self.stream)
        end = self.server.stream(self.stream)
        if end is not None:
            self.server_user.got_end = end.peer_ended

    # -- the network

    def _dial(self) -> None:
        if self.client_over is not None:
            return
        if self.now < self.refused_until:
            self.client.disconnected("refused", self.now)
            return
        self.last += 1
        fault = self.faults.pop(0) if self.faults else None
        carrier = self.current = self.carriers[self.last] = Carrier(self.last, fault)
        if fault is not None and fault.after == 0:
            self._strike(carrier, fault)
        self.server.accepted(carrier.number, self.now)
        if carrier.client_open:
            self.client.connected(self.now)

    def _flush(self, carrier: Carrier) -> None:
        for direction, data in (("up", carrier.to_server), ("down", carrier.to_client)):
            if data and direction not in carrier.scheduled:
                carrier.scheduled.add(direction)
                delay = max(self.dice.random() * 0.02, carrier.held_until - self.now)
                self.at(delay, lambda direction=direction: self._deliver(carrier, direction))  # type: ignore[misc]

    def _deliver(self, carrier: Carrier, direction: str) -> None:
        carrier.scheduled.discard(direction)
        if carrier.hole or self.now < carrier.held_until:
            self._flush(carrier)
            if carrier.hole:
                carrier.to_server.clear()
                carrier.to_client.clear()
            return
        data = carrier.to_server if direction == "up" else carrier.to_client
        if not data:
            return
        size = 1 if carrier.trickle else self.dice.randint(1, self.pieces)
        fault = carrier.fault
        if fault is not None:
            size = min(size, fault.after - carrier.arrived)
        piece = bytes(data[:size])
        del data[:size]
        carrier.arrived += len(piece)
        if direction == "up":
            if carrier.server_open:
                self.server.receive(carrier.number, piece, self.now)
        elif carrier is self.current and carrier.client_open:
            self.client.receive(piece, self.now)
        if fault is not None and carrier.arrived >= fault.after:
            self._strike(carrier, fault)
        self._flush(carrier)
        self._settle_writes(carrier)

    def _settle_writes(self, carrier: Carrier) -> None:
        if carrier.server_open and not carrier.hole and carrier.number in self.carriers:
            self._write_server(carrier.number)

    def _strike(self, carrier: Carrier, fault: Fault) -> None:
        carrier.fault = None
        self.refused_until = self.now + fault.outage
        match fault.kind:
            case Kind.CUT | Kind.REPLAY:
                carrier.to_server.clear()
                carrier.to_client.clear()
                self.at(0.0, lambda: self._tell_client(carrier))
                self.at(0.0, lambda: self._tell_server(carrier))
                if fault.kind is Kind.REPLAY:
                    self.at(0.2, lambda: self._replay(bytes(carrier.said)))
            case Kind.CLIENT_ONLY:
                carrier.hole = True
                self.at(0.0, lambda: self._tell_client(carrier))
            case Kind.SERVER_ONLY:
                carrier.hole = True
                self.at(0.0, lambda: self._tell_server(carrier))
            case Kind.BLACK_HOLE:
                carrier.hole = True
            case Kind.STALL:
                carrier.held_until = self.now + FROZEN
            case Kind.TRICKLE:
                carrier.trickle = True
            case Kind.LATE:
                carrier.held_until = self.now + 2.0
                self.at(0.0, lambda: self._tell_client(carrier))
                self.at(4.0, lambda: self._tell_server(carrier))

    def _tell_client(self, carrier: Carrier) -> None:
        if carrier.client_open:
            carrier.client_open = False
            if carrier is self.current:
                self.current = None
                self.client.disconnected("cut", self.now)

    def _close_client(self, carrier: Carrier) -> None:
        """The client hangs up; the server hears of it once what is on its way has arrived."""
        carrier.client_open = False
        self.current = None
        self._end_arrives(carrier, carrier.to_server, self._tell_server)

    def _end_arrives(self, carrier: Carrier, before: bytearray, tell: Callable[[Carrier], None]) -> None:
        """Tell an end that a carrier is over, once what is on its way to it has arrived."""
        if before and not carrier.hole:
            self.at(0.1, lambda: self._end_arrives(carrier, before, tell))
        elif not carrier.hole:
            tell(carrier)

    def _tell_server(self, carrier: Carrier) -> None:
        if carrier.server_open:
            carrier.server_open = False
            self.server.disconnected(carrier.number, "cut", self.now)

    def _replay(self, said: bytes) -> None:
        self.last += 1
        carrier = self.carriers[self.last] = Carrier(self.last, None, stranger=True)
        self.server.accepted(carrier.number, self.now)
        self.server.receive(carrier.number, said, self.now)
        self.at(1.0, lambda: self._tell_server(carrier))
