"""A network in virtual time: relays, a master that echoes or speaks, slaves, and links that are cut."""

from __future__ import annotations

import random
from collections import deque

from slaveproto.inputs import Disconnected, Received, Wakeup
from slaveproto.limits import Limits
from slaveproto.relay.config import Place, RelayConfig
from slaveproto.relay.events import (
    CameIn,
    Dial,
    HalfClosed,
    HangUp,
    Reached,
    RelayEvent,
    RelayInput,
    ShutWriting,
)
from slaveproto.relay.session import RelaySession
from slaveproto.wire.banana import encode

GREETING = encode([b"pb", b"none"], vocabulary=False, limits=Limits())
PB = encode(b"pb", vocabulary=False, limits=Limits())


class Pipe:
    """One connection, seen from one end. The other end is its `peer`."""

    def __init__(self) -> None:
        self.peer: Pipe = self
        self.arrived = bytearray()
        self.closing = False
        self.broken = ""

    def send(self, data: bytes) -> None:
        self.peer.arrived += data

    def shut(self) -> None:
        self.peer.closing = True

    def hung_up(self) -> bool:
        """Whether the other end says nothing more."""
        return self.closing

    def break_down(self, why: str = "Connection reset by peer") -> None:
        self.broken = self.peer.broken = why


def pipe() -> tuple[Pipe, Pipe]:
    one, other = Pipe(), Pipe()
    one.peer, other.peer = other, one
    return one, other


class Relay:
    """A relay with its connections, driven as a runner would."""

    def __init__(self, network: Network, place: Place, **settings: object) -> None:
        self.network = network
        self.session = RelaySession(RelayConfig(place, **settings), bytes(32), self.draw)  # type: ignore[arg-type]
        self.pipes: dict[int, Pipe] = {}
        self.events: list[RelayEvent] = []
        self.leads_to: Relay | None = None
        self.reachable = True
        self.accepted = 0

    def draw(self, most: float) -> float:
        return self.network.random.random() * most

    def accept(self, host: str = "10.0.0.1") -> Pipe:
        ours, theirs = pipe()
        self.accepted += 1
        self.pipes[self.accepted] = ours
        self.handle(CameIn(self.accepted, f"{host}:{self.accepted}", host))
        return theirs

    def handle(self, item: RelayInput) -> None:
        session = self.session
        session.handle(item, now=self.network.now)
        while touched := session.connections_to_send():
            for number in touched:
                line = self.pipes.get(number)
                if line is not None:
                    while data := session.data_to_send(number):
                        line.send(data)
        for request in session.requests():
            match request:
                case Dial(number):
                    self.network.dials.append((self, number))
                case ShutWriting(number):
                    if number in self.pipes:
                        self.pipes[number].shut()
                case HangUp(number, last):
                    line = self.pipes.pop(number, None)
                    if line is not None:
                        line.send(last)
                        line.shut()
        while (event := session.next_event()) is not None:
            self.events.append(event)

    def dial(self, number: int) -> None:
        if not self.reachable:
            self.handle(Disconnected(number, "Connection refused"))
            return
        if self.leads_to is not None:
            theirs = self.leads_to.accept("10.0.0.2")
            self.network.links.append(theirs)
        else:
            ours, theirs = pipe()
            ours.send(self.network.greeting)
            self.network.masters.append(ours)
        self.pipes[number] = theirs
        self.handle(Reached(number))

    def read(self, most: int) -> bool:
        """Read of each connection that is not paused; return whether there was something."""
        found = False
        for number, line in list(self.pipes.items()):
            if self.pipes.get(number) is not line:
                continue
            if line.broken:
                del self.pipes[number]
                self.handle(Disconnected(number, line.broken))
            elif self.session.paused(number):
                continue
            elif line.arrived:
                data = bytes(line.arrived[:most])
                del line.arrived[:most]
                self.handle(Received(number, data))
            elif line.closing:
                line.closing = False
                self.handle(HalfClosed(number))
            else:
                continue
            found = True
        return found


class Network:
    """Relays and time."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 1000.0
        self.random = random.Random(seed)
        self.relays: list[Relay] = []
        self.masters: list[Pipe] = []
        self.links: list[Pipe] = []
        self.dials: deque[tuple[Relay, int]] = deque()
        self.most = 1 << 18
        self.greeting = GREETING

    def relay(self, place: Place, **settings: object) -> Relay:
        relay = Relay(self, place, **settings)
        self.relays.append(relay)
        return relay

    def pair(self, **settings: object) -> tuple[Relay, Relay]:
        """A relay beside slaves, and the one beside the master that it leads to."""
        near, far = self.relay(Place.BESIDE_SLAVES, **settings), self.relay(Place.BESIDE_MASTER, **settings)
        near.leads_to = far
        return near, far

    def settle(self) -> None:
        """Let everything happen that can happen now."""
        while True:
            found = False
            while self.dials:
                relay, number = self.dials.popleft()
                relay.dial(number)
                found = True
            for relay in self.relays:
                found |= relay.read(self.most)
            if not found:
                return

    def pass_time(self, seconds: float) -> None:
        """Let time go by, and everything happen that is due."""
        until = self.now + seconds
        self.settle()
        while True:
            due = [due for relay in self.relays if (due := relay.session.deadline) is not None]
            if not due or min(due) > until:
                break
            self.now = max(self.now, min(due))
            for relay in self.relays:
                relay.handle(Wakeup())
            self.settle()
        self.now = until
