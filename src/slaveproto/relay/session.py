"""The relay, without I/O: every connection of it, and what goes where.

`RelaySession` is a pure function of its constructor's arguments and of the inputs that `handle` was given. To drive it:
`handle` an input; for each of `connections_to_send()` send `data_to_send(connection)` whenever the data before it is
sent, and read it, or not, as `paused(connection)` says; then perform every one of `requests()`; read `next_event()`
until None; wait for the next input, but no longer than until `deadline`.

Rules.

* A slave and its master are a pair. What one leg of it brings is sent to the other, in order and unchanged; a leg that
  takes no more leaves its partner unread, end to end.
* A leg that is lost ends its partner. The end of one direction is passed on, and the other one goes on.
* Beside a master the relay greets before it knows who comes, so for a plain slave it swallows the master's own
  greeting, which is one expression of Banana. A stream carries that greeting like everything else.
* Beside slaves nothing is read of a slave before the other end has shown whether it knows streams; if not, the
  connection becomes plain, unless there is a key.
* A connection is a stranger's until `SPOKEN` bytes went each way: more than a login that fails. A key or a certificate
  is proof by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import auto
from typing import Final, assert_never

from slaveproto.allowances import Allowances
from slaveproto.errors import RemoteProtocolError
from slaveproto.inputs import Disconnected, Received, Stop, Wakeup
from slaveproto.limits import Limits
from slaveproto.machine import Machine, Symbol
from slaveproto.mend import Mended, Mender, PassedOn, Side
from slaveproto.relay.config import Place, RelayConfig
from slaveproto.relay.events import (
    Agreed,
    CameIn,
    Dial,
    Drain,
    Draining,
    HalfClosed,
    HangUp,
    LinkBack,
    LinkLost,
    PairMended,
    PairOpened,
    PairOver,
    PairPassedOn,
    Reached,
    RelayEvent,
    RelayInput,
    RelayRequest,
    ShutWriting,
    TurnedAway,
)
from slaveproto.relay.legs import ClientLeg, Leg, PlainLeg, ServerLeg
from slaveproto.relay.states import PAIR, PairEvent, PairState
from slaveproto.resume.client import ResumingClient
from slaveproto.resume.events import (
    Arrived,
    CarrierBack,
    CarrierLost,
    CarrierOver,
    DialWanted,
    HangUpWanted,
    PlainCame,
    PlainPeer,
    StreamCame,
    StreamOpened,
    StreamOver,
)
from slaveproto.resume.greeting import is_plain_choice
from slaveproto.resume.proof import derive
from slaveproto.resume.server import ResumingServer
from slaveproto.strangers import Strangers, group_of
from slaveproto.timers import Timers
from slaveproto.wire.banana import NEED_DATA, Decoder

SPOKEN: Final = 1024
"""Bytes that have to go each way until a connection is no stranger's."""

TLS_TIME: Final = 10.0
"""Seconds that a connection has to agree on TLS."""

TOLD: Final = (100, 0.5)
"""Connections that are told to be turned away: at once, and a second."""

_GREETING: Final = Limits(string=100, elements=100, message=4096)


class _Alarm(Symbol):
    TLS = auto()
    REACH = auto()
    CLIENT = auto()
    DRAIN = auto()


class _Pair:
    """A slave and a master.

    Args:
        number: of the pair: that of the connection, or of the stream, which came in.
        peer: the address that came in.
        near: the leg that came in, which is the slave's.
        mender: what stands between the two; None if they understand each other.
    """

    __slots__ = (
        "far", "group", "heard", "machine", "mender", "near", "number", "peer", "resumable", "said", "swallowed",
    )  # fmt: skip

    def __init__(self, number: int, peer: str, group: str, near: Leg, mender: Mender | None) -> None:
        self.number = number
        self.mender = mender
        self.peer = peer
        self.group = group
        self.near = near
        self.far: Leg | None = None
        self.machine = Machine(PAIR)
        self.resumable = False
        # What is missing of a sign that the two have talked.
        self.heard = self.said = SPOKEN
        self.swallowed: bytes = b""
        """The beginning of the master's greeting."""


class RelaySession:
    """One relay.

    Args:
        config: place, patience and bounds.
        secret: 32 bytes of randomness, drawn at the start of the program.
        jitter: draws a number between 0 and the one that it is given.
    """

    def __init__(self, config: RelayConfig, secret: bytes, jitter: Callable[[float], float]) -> None:
        self.config = config
        self._secret = secret
        self._jitter = jitter
        self._now = 0.0
        self._server: ResumingServer | None = None
        if config.place is Place.BESIDE_MASTER:
            plain = config.plain and not config.key
            self._server = ResumingServer(derive(secret, b"server"), config.policy, config.key, plain=plain)
        self._pairs: dict[int, _Pair] = {}
        # Connections that are legs, or carry one, with their pairs. Others are the server's.
        self._plain: dict[int, tuple[_Pair, PlainLeg]] = {}
        self._carriers: dict[int, tuple[_Pair, ClientLeg]] = {}
        # All that came in, with their addresses in words and their groups.
        self._came: dict[int, tuple[str, str]] = {}
        self._spoke: set[int] = set()
        # Pairs whose master is left unread because the stream takes no more.
        self._held: dict[int, _Pair] = {}
        self._strangers = Strangers()
        self._tellings = Allowances[str](*TOLD)
        self._timers: Timers[tuple[_Alarm, int]] = Timers()
        self._requests: list[RelayRequest] = []
        self._events: deque[RelayEvent] = deque()
        self._touched: dict[int, None] = {}
        self._dialled = 0
        self._turning_away = ""

    # -- the doors out

    @property
    def deadline(self) -> float | None:
        """The time when `handle(Wakeup(), ...)` is due, in the clock of `now`; None for not before another input."""
        due = self._timers.deadline
        server = None if self._server is None else self._server.deadline
        return server if due is None else due if server is None else min(due, server)

    @property
    def finished(self) -> bool:
        """Whether no more slaves are let in and none is left."""
        return bool(self._turning_away) and not self._pairs

    @property
    def census(self) -> dict[str, int]:
        """The number of everything that comes and goes, for tests: without connections all of it is 0."""
        return {
            "pairs": len(self._pairs),
            "plain": len(self._plain),
            "carriers": len(self._carriers),
            "came": len(self._came),
            "spoke": len(self._spoke),
            "strangers": len(self._strangers),
            "timers": len(self._timers),
            "streams": 0 if self._server is None else len(self._server.streams),
        }

    def requests(self) -> list[RelayRequest]:
        """Return what is to be done now, in this order."""
        requests, self._requests = self._requests, []
        return requests

    def connections_to_send(self) -> list[int]:
        """Return the connections that may have something to send, or may be paused or not, since the last time."""
        self._move_held()
        if self._server is not None:
            self._heed_server(self._server)
        touched, self._touched = self._touched, {}
        if self._server is not None:
            touched.update(dict.fromkeys(self._server.carriers_to_send()))
        return list(touched)

    def data_to_send(self, connection: int) -> bytes:
        """Return bytes for a connection and forget them; none for one that is over."""
        if connection in self._plain:
            pair, leg = self._plain[connection]
            data = leg.data_to_send()
            if data:
                self._move(pair)
            return data
        if connection in self._carriers:
            pair, carried = self._carriers[connection]
            data = carried.client.data_to_send()
            if data:
                self._move(pair)
            return data
        if self._server is None:
            return b""
        data = self._server.data_to_send(connection)
        if data:
            self._move_held()
        return data

    def paused(self, connection: int) -> bool:
        """Whether a connection is to be left unread, because its partner takes no more."""
        if connection not in self._plain:
            return False
        pair, leg = self._plain[connection]
        if leg.full:
            return True
        # The master's greeting is waited for.
        return pair.machine.state is not PairState.OPEN and leg is pair.near

    def next_event(self) -> RelayEvent | None:
        """Return the next announcement, None if there is no more."""
        return self._events.popleft() if self._events else None

    # -- the door in

    def handle(self, item: RelayInput, *, now: float) -> None:
        """Take one input at the time `now`, in seconds of any clock that never goes back."""
        self._now = now
        match item:
            case Received(connection, data):
                self._receive(connection, data)
            case CameIn():
                self._come(item)
            case Agreed(connection, names):
                if connection in self._came:
                    self._timers.cancel((_Alarm.TLS, connection))
                    self._welcome(connection)
                    if self._server is not None:
                        self._server.secured(connection, names)
            case Reached(connection):
                self._reached(connection)
            case HalfClosed(connection):
                self._half_closed(connection)
            case Disconnected(connection, why):
                self._disconnected(connection, why)
            case Wakeup():
                pass
            case Drain(why, within):
                self._turn_new_away(why)
                self._timers.set((_Alarm.DRAIN, 0), now + within)
                self._events.append(Draining(why, len(self._pairs), within))
            case Stop(why):
                self._stop(why)
            case _:
                assert_never(item)
        for alarm, number in self._timers.pop_expired(now):
            self._expired(alarm, number)
        if self._server is not None:
            due = self._server.deadline
            if due is not None and due <= now:
                self._server.wakeup(now)
            self._heed_server(self._server)

    # -- who comes

    def _come(self, item: CameIn) -> None:
        number, group = item.connection, group_of(item.host)
        if len(self._came) >= self.config.connections:
            self._turn_away(number, item.peer, f"{self.config.connections} connections are here already")
            return
        if not self._strangers.may_come(group, self._now):
            self._turn_away(number, item.peer, "too many connections of that address came to nothing")
            return
        self._came[number] = (item.peer, group)
        gone = self._strangers.come(
            number,
            group,
            self._now,
            most=self.config.visitors,
            share=self.config.visitors_per_address,
            silent=lambda other: other not in self._spoke,
        )
        if gone is not None:
            self._evict(gone)
        if number not in self._came:
            return
        if item.secure:
            self._welcome(number)
        else:
            self._timers.set((_Alarm.TLS, number), self._now + TLS_TIME)

    def _welcome(self, number: int) -> None:
        """Begin to speak with a connection."""
        if self._server is not None:
            self._server.accepted(number, self._now)
            return
        peer, group = self._came[number]
        if self._turning_away:
            self._drop(number)
            self._turn_away(number, peer, self._turning_away)
            return
        near = PlainLeg(number)
        pair = self._pairs[number] = _Pair(number, peer, group, near, self._mender())
        self._plain[number] = (pair, near)
        self._touched[number] = None
        self._dialled += 1
        seed = derive(self._secret, b"client", self._dialled)
        far = pair.far = ClientLeg(ResumingClient(seed, self._jitter, self.config.policy, self.config.key))
        self._timers.set((_Alarm.REACH, number), self._now + self.config.reach)
        self._heed_client(pair, far)

    def _turn_away(self, number: int, peer: str, why: str) -> None:
        self._requests.append(HangUp(number))
        self._tell_turned_away(peer, why)

    def _tell_turned_away(self, peer: str, why: str) -> None:
        # Strangers must not fill a log.
        if self._tellings.spend("", self._now):
            self._events.append(TurnedAway(peer, why))

    def _evict(self, number: int) -> None:
        """Let a stranger go for the sake of another one."""
        why = "others want its place"
        if number in self._pairs:
            self._end(self._pairs[number], why)
            return
        peer, _ = self._came[number]
        if self._server is not None and (_Alarm.TLS, number) not in self._timers:
            self._server.disconnected(number, why, self._now)
        self._drop(number)
        self._turn_away(number, peer, why)

    def _drop(self, number: int) -> None:
        """Forget a connection that came in and belongs to no pair."""
        self._came.pop(number, None)
        self._spoke.discard(number)
        self._timers.cancel((_Alarm.TLS, number))
        self._strangers.fail(number, self._now)

    def _pair_up(self, number: int, near: Leg) -> _Pair:
        """Begin a pair beside a master, with its leg that came in."""
        peer, group = self._came[number]
        pair = self._pairs[number] = _Pair(number, peer, group, near, self._mender())
        self._dialled += 1
        far = pair.far = PlainLeg(-self._dialled)
        self._plain[far.number] = (pair, far)
        self._timers.set((_Alarm.REACH, number), self._now + self.config.reach)
        self._requests.append(Dial(far.number))
        return pair

    # -- what happens to connections

    def _receive(self, connection: int, data: bytes) -> None:
        if connection in self._plain:
            pair, leg = self._plain[connection]
            if pair.machine.state is PairState.AWAITING_GREETING and leg is pair.far:
                self._swallow(pair, leg, data)
            else:
                leg.bring(data)
                self._move(pair)
        elif connection in self._carriers:
            pair, carried = self._carriers[connection]
            carried.client.receive(data, self._now)
            self._heed_client(pair, carried)
        elif self._server is not None and connection in self._came:
            self._server.receive(connection, data, self._now)
            self._heed_server(self._server, connection)
        if connection in self._strangers:
            self._spoke.add(connection)

    def _reached(self, connection: int) -> None:
        if connection in self._carriers:
            pair, carried = self._carriers[connection]
            carried.client.connected(self._now)
            self._heed_client(pair, carried)
        elif connection in self._plain:
            pair, _ = self._plain[connection]
            if isinstance(pair.near, PlainLeg):
                pair.machine.fire(PairEvent.REACHED_FOR_PLAIN)
            else:
                self._open(pair, PairEvent.REACHED, resumable=True)

    def _open(self, pair: _Pair, event: PairEvent, *, resumable: bool) -> None:
        pair.machine.fire(event)
        pair.resumable = resumable
        self._timers.cancel((_Alarm.REACH, pair.number))
        if self.config.certified or self.config.key:
            self._know(pair)
        self._events.append(PairOpened(pair.number, pair.peer, resumable))
        self._move(pair)

    def _swallow(self, pair: _Pair, leg: PlainLeg, data: bytes) -> None:
        pair.swallowed += data
        decoder = Decoder(_GREETING)
        decoder.feed(pair.swallowed)
        try:
            if decoder.next_expression() is NEED_DATA:
                return
        except RemoteProtocolError as error:
            self._end(pair, f"the master does not speak Perspective Broker: {error}")
            return
        rest = decoder.ahead()
        if pair.mender is not None:
            # The slave has heard the relay's own.
            left = 0 if rest is None else len(rest[0]) - rest[1]
            pair.mender.receive(Side.MASTER, pair.swallowed[: len(pair.swallowed) - left])
            pair.mender.data_to_send(Side.SLAVE)
        pair.swallowed = b""
        if rest is not None and rest[1] < len(rest[0]):
            leg.bring(rest[0][rest[1] :])
        self._open(pair, PairEvent.GREETING, resumable=False)

    def _half_closed(self, connection: int) -> None:
        if connection in self._plain:
            pair, leg = self._plain[connection]
            leg.bring(b"")
            if pair.machine.state is PairState.OPEN:
                self._move(pair)
            else:
                self._end(pair, "hung up at once")
        else:
            # What carries a stream is one connection, not two directions.
            self._requests.append(HangUp(connection))
            self._lose(connection, "")

    def _disconnected(self, connection: int, why: str) -> None:
        if connection in self._plain:
            pair, _ = self._plain.pop(connection)
            self._end(pair, f"{'the slave' if connection > 0 else 'the master'}: {why or 'closed the connection'}")
        else:
            self._lose(connection, why)

    def _lose(self, connection: int, why: str) -> None:
        if connection in self._carriers:
            pair, carried = self._carriers.pop(connection)
            carried.carrier = 0
            carried.client.disconnected(why, self._now)
            self._heed_client(pair, carried)
        elif connection in self._came:
            peer, _ = self._came[connection]
            if (_Alarm.TLS, connection) in self._timers:
                self._tell_turned_away(peer, why or "hung up")
            elif self._server is not None:
                self._server.disconnected(connection, why, self._now)
                self._heed_server(self._server)
            self._drop(connection)

    # -- what goes where

    def _move(self, pair: _Pair) -> None:
        """Send what the legs of a pair brought, as far as their partners take it."""
        near, far = pair.near, pair.far
        if far is None or pair.machine.state is not PairState.OPEN:
            return
        try:
            heard = _carry(near, far, pair.mender, Side.SLAVE)
            said = _carry(far, near, pair.mender, Side.MASTER)
        except RemoteProtocolError as error:
            self._end(pair, f"mending: {error}")
            return
        if pair.mender is not None:
            self._tell_mended(pair, pair.mender)
        if pair.heard > 0 or pair.said > 0:
            pair.heard -= heard
            pair.said -= said
            if pair.heard <= 0 and pair.said <= 0:
                self._know(pair)
        for leg in (near, far):
            if isinstance(leg, PlainLeg):
                self._touched[leg.number] = None
                if leg.shut():
                    self._requests.append(ShutWriting(leg.number))
            elif isinstance(leg, ClientLeg):
                if leg.carrier:
                    self._touched[leg.carrier] = None
                self._watch(pair, leg)
            elif leg.congested:
                self._held[pair.number] = pair
        if near.over and far.over:
            self._end(pair, "")

    def _mender(self) -> Mender | None:
        return Mender() if self.config.mend else None

    def _tell_mended(self, pair: _Pair, mender: Mender) -> None:
        while (event := mender.next_event()) is not None:
            match event:
                case Mended(name, side):
                    self._events.append(PairMended(pair.number, pair.peer, name, side.name.lower()))
                case PassedOn(what, side):
                    self._events.append(PairPassedOn(pair.number, pair.peer, what, side.name.lower()))
                case _:
                    assert_never(event)

    def _move_held(self) -> None:
        """Move what waited for room on a stream that came in."""
        for pair in list(self._held.values()):
            if not pair.near.congested:
                del self._held[pair.number]
                self._move(pair)

    def _know(self, pair: _Pair) -> None:
        """Count a pair no more among the strangers."""
        pair.heard = pair.said = 0
        self._strangers.attach(pair.number, pair.group)
        self._spoke.discard(pair.number)

    def _watch(self, pair: _Pair, leg: ClientLeg) -> None:
        """Set the alarm of a stream, unless it rings early enough: one that rings too early does no harm."""
        due = leg.client.deadline
        if due is not None and (leg.due is None or due < leg.due):
            leg.due = due
            self._timers.set((_Alarm.CLIENT, pair.number), due)

    def _heed_client(self, pair: _Pair, leg: ClientLeg) -> None:
        client = leg.client
        while pair.machine.state is not PairState.OVER and (event := client.next_event()) is not None:
            match event:
                case DialWanted():
                    self._dialled += 1
                    leg.carrier = -self._dialled
                    self._carriers[leg.carrier] = (pair, leg)
                    self._requests.append(Dial(leg.carrier))
                case StreamOpened():
                    self._open(pair, PairEvent.REACHED, resumable=True)
                case PlainPeer(data):
                    far = pair.far = PlainLeg(leg.carrier)
                    del self._carriers[leg.carrier]
                    self._plain[far.number] = (pair, far)
                    self._timers.cancel((_Alarm.CLIENT, pair.number))
                    far.bring(data)
                    self._open(pair, PairEvent.REACHED, resumable=False)
                    return
                case HangUpWanted():
                    if leg.carrier:
                        del self._carriers[leg.carrier]
                        self._requests.append(HangUp(leg.carrier, client.data_to_send()))
                        leg.carrier = 0
                case CarrierLost(_, why, unacknowledged):
                    self._events.append(LinkLost(pair.number, pair.peer, why, unacknowledged))
                case CarrierBack(_, _, seconds):
                    self._events.append(LinkBack(pair.number, pair.peer, seconds))
                case Arrived():
                    pass
                case StreamOver(_, why):
                    self._stream_over(pair, leg, why)
                case _:
                    assert_never(event)
        if pair.machine.state is not PairState.OVER:
            if leg.carrier:
                self._touched[leg.carrier] = None
            self._move(pair)
            self._watch(pair, leg)

    def _stream_over(self, pair: _Pair, leg: Leg, why: str) -> None:
        if why or pair.machine.state is not PairState.OPEN:
            self._end(pair, why or "the other relay closed it")
            return
        # Both ends have ended it; what came last is still on its way to the partner.
        self._move(pair)

    def _heed_server(self, server: ResumingServer, heard: int | None = None) -> None:
        """Take what a server announces, after it was told of a connection that it heard, or of something else."""
        while (event := server.next_event()) is not None:
            match event:
                case PlainCame(carrier, data, unsent):
                    self._plain_came(carrier, data, unsent)
                case StreamCame(number):
                    stream = server.stream(number)
                    if stream is not None:
                        pair = self._pair_up(number, ServerLeg(server, number, stream))
                        if self.config.key or self.config.certified:
                            self._know(pair)
                case CarrierOver(carrier, why, stranger):
                    self._requests.append(HangUp(carrier, server.data_to_send(carrier)))
                    peer, _ = self._came.get(carrier, ("", ""))
                    self._drop(carrier)
                    if stranger:
                        self._tell_turned_away(peer, why)
                case CarrierLost(number, why, unacknowledged):
                    if number in self._pairs:
                        self._events.append(LinkLost(number, self._pairs[number].peer, why, unacknowledged))
                case CarrierBack(number, _, seconds):
                    if heard is not None:
                        # It has proven that it belongs to a stream that is here.
                        self._strangers.leave(heard)
                    if number in self._pairs:
                        self._events.append(LinkBack(number, self._pairs[number].peer, seconds))
                case Arrived(number):
                    if number in self._pairs:
                        self._move(self._pairs[number])
                case StreamOver(number, why):
                    if number in self._pairs:
                        self._stream_over(self._pairs[number], self._pairs[number].near, why)
                case _:
                    assert_never(event)

    def _plain_came(self, number: int, data: bytes, unsent: bytes) -> None:
        if self._turning_away:
            peer, _ = self._came[number]
            self._drop(number)
            self._turn_away(number, peer, self._turning_away)
            return
        if not is_plain_choice(data):
            # The master has to hear of no port scanner.
            peer, _ = self._came[number]
            self._drop(number)
            self._turn_away(number, peer, "speaks neither Perspective Broker nor a stream that outlives its links")
            return
        near = PlainLeg(number)
        if unsent:
            near.send(unsent)
        near.bring(data)
        pair = self._pair_up(number, near)
        self._plain[number] = (pair, near)
        self._touched[number] = None

    # -- ends

    def _end(self, pair: _Pair, why: str) -> None:
        """End both legs of a pair. What they brought before still goes out."""
        if pair.machine.state is PairState.OVER:
            return
        pair.machine.fire(PairEvent.END)
        del self._pairs[pair.number]
        self._held.pop(pair.number, None)
        for leg in (pair.near, pair.far):
            match leg:
                case PlainLeg():
                    if self._plain.pop(leg.number, None) is not None:
                        self._requests.append(HangUp(leg.number, leg.rest()))
                case ClientLeg():
                    leg.abort(why)
                    while (event := leg.client.next_event()) is not None:
                        if isinstance(event, HangUpWanted) and leg.carrier:
                            self._requests.append(HangUp(leg.carrier, leg.client.data_to_send()))
                    self._carriers.pop(leg.carrier, None)
                case ServerLeg():
                    leg.abort(why)
        for alarm in (_Alarm.REACH, _Alarm.CLIENT):
            self._timers.cancel((alarm, pair.number))
        if isinstance(pair.near, PlainLeg):
            self._drop(pair.number)
        self._events.append(PairOver(pair.number, pair.peer, why))

    def _turn_new_away(self, why: str) -> None:
        self._turning_away = why
        if self._server is not None:
            # Links of streams that are here may still come back.
            self._server.leaving = True

    def _stop(self, why: str) -> None:
        self._turn_new_away(self._turning_away or why)
        self._timers.cancel((_Alarm.DRAIN, 0))
        for pair in list(self._pairs.values()):
            self._end(pair, why)
        if self._server is not None:
            self._heed_server(self._server)
        for number in list(self._came):
            data = b"" if self._server is None else self._server.data_to_send(number)
            self._drop(number)
            self._requests.append(HangUp(number, data))

    def _expired(self, alarm: _Alarm, number: int) -> None:
        pair = self._pairs.get(number)
        match alarm:
            case _Alarm.DRAIN:
                self._stop(f"{self._turning_away}, and the time to end was over")
            case _Alarm.TLS:
                if number in self._came:
                    peer, _ = self._came[number]
                    self._drop(number)
                    self._turn_away(number, peer, f"agreed on no TLS within {TLS_TIME:g} s")
            case _Alarm.REACH:
                if pair is not None:
                    self._end(pair, f"nothing was reached within {self.config.reach:g} s")
            case _Alarm.CLIENT:
                if pair is not None and isinstance(pair.far, ClientLeg):
                    pair.far.due = None
                    pair.far.client.wakeup(self._now)
                    self._heed_client(pair, pair.far)
            case _:
                assert_never(alarm)


def _carry(source: Leg, target: Leg, mender: Mender | None, side: Side) -> int:
    """Send what a leg brought to its partner, unless that takes no more; return how many bytes it was.

    Raises:
        RemoteProtocolError: what it brought cannot be mended, and not be passed on.
    """
    if target.congested or target.ending:
        return 0
    data = source.take()
    if mender is None:
        if data:
            target.send(data)
    elif data:
        try:
            mender.receive(side, data)
        finally:
            _send_mended(mender, side.other, target)
            _send_mended(mender, side, source)
    if source.ended:
        target.end()
    return len(data)


def _send_mended(mender: Mender, side: Side, leg: Leg) -> None:
    data = mender.data_to_send(side)
    if data and not leg.ending:
        leg.send(data)
