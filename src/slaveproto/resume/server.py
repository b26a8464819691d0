"""The end of streams that listens: every connection to a port, and the streams that come over them.

Rules.

* A stranger costs a few hundred bytes, and has a few seconds to prove that it belongs to a stream, or to begin one.
* A stream is resumed by a proof, over TLS also only with the same certificate. The newer connection wins, by the count
  of the client: the older one is closed, or refused if it comes late.
* What cannot be proven changes nothing: the stream and its present connection go on.
* The owner gives the numbers of connections, none of them twice. A stream has the number of its first one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import auto
from typing import Final

from slaveproto.errors import RemoteProtocolError
from slaveproto.machine import Machine, Symbol
from slaveproto.resume.events import (
    Arrived,
    CarrierBack,
    CarrierLost,
    CarrierOver,
    PlainCame,
    ServerEvent,
    StreamCame,
    StreamOver,
)
from slaveproto.resume.frames import (
    Challenge,
    FrameReader,
    Hello,
    Reason,
    Refusal,
    Welcome,
    hello_fields,
    welcome_fields,
    write,
)
from slaveproto.resume.greeting import CHOICE, offer, read_choice
from slaveproto.resume.policy import ResumePolicy
from slaveproto.resume.proof import derive, is_equal, opening_key, prove_client, prove_server, resuming_key, stream_id
from slaveproto.resume.states import SERVER_CARRIER, ServerCarrierEvent, ServerCarrierState
from slaveproto.resume.stream import ResumableStream
from slaveproto.timers import Timers

_Event = ServerCarrierEvent
_State = ServerCarrierState

NO_STREAM: Final = "it speaks no stream that outlives its connections, and this port takes nothing else"


class _Limit(Symbol):
    HANDSHAKE = auto()
    STREAM = auto()


class _Carrier:
    """One connection."""

    __slots__ = ("choice", "held", "machine", "names", "nonce", "number", "out", "reader")

    def __init__(self, number: int) -> None:
        self.number = number
        self.machine = Machine(SERVER_CARRIER)
        self.reader: FrameReader | None = None
        self.choice = b""
        self.nonce = b""
        self.out: list[bytes] = []
        self.names: tuple[str, ...] = ()
        self.held: _Held | None = None


class _Held:
    """One stream, and what has to be shown to resume it."""

    __slots__ = ("carrier", "count", "due", "id", "key", "names", "number", "stream")

    def __init__(self, number: int, stream: ResumableStream, name: bytes, key: bytes, names: tuple[str, ...]) -> None:
        self.number = number
        self.stream = stream
        self.id = name
        self.key = key
        self.names = names
        self.carrier: _Carrier | None = None
        self.count = 0
        # The time for which the timer is set.
        self.due: float | None = None


class ResumingServer:
    """The streams of one port.

    Args:
        secret: 32 bytes of randomness, drawn at the start of the program.
        policy: patience and bounds.
        key: the secret that clients have to know to open a stream; empty for none.
        plain: whether clients may speak Perspective Broker itself.
        streams: most streams at a time.
    """

    def __init__(
        self,
        secret: bytes,
        policy: ResumePolicy = ResumePolicy(),  # noqa: B008  frozen
        key: bytes = b"",
        *,
        plain: bool = True,
        streams: int = 10_000,
    ) -> None:
        self.leaving = False
        """Whether no new streams are taken; those that there are can be resumed."""
        self._secret = secret
        self._policy = policy
        self._key = key
        self._plain = plain
        self._most = streams
        self._events: deque[ServerEvent] = deque()
        self._carriers: dict[int, _Carrier] = {}
        self._held: dict[int, _Held] = {}
        self._by_id: dict[bytes, _Held] = {}
        # Streams that are over, of which not all that arrived was taken.
        self._untaken: dict[int, ResumableStream] = {}
        self._timers: Timers[tuple[_Limit, int]] = Timers()
        self._touched: dict[int, None] = {}

    # -- the owner's side

    @property
    def streams(self) -> Mapping[int, ResumableStream]:
        """The streams that there are, by number, to be looked at."""
        return {number: held.stream for number, held in self._held.items()}

    def stream(self, number: int) -> ResumableStream | None:
        """Return a stream, to be looked at; None if it is over."""
        held = self._held.get(number)
        return held.stream if held is not None else None

    def send(self, number: int, data: bytes) -> None:
        """Send bytes over a stream, if it is not over; see `ResumableStream.send`."""
        held = self._held.get(number)
        if held is not None:
            held.stream.send(data)
            self._touch(held)

    def end(self, number: int) -> None:
        """Send nothing more over a stream; see `ResumableStream.end`."""
        held = self._held.get(number)
        if held is not None:
            held.stream.end()
            self._touch(held)
            self._see_to_end(held)

    def abort(self, number: int, why: str) -> None:
        """End a stream now; see `ResumableStream.abort`. No `StreamOver` is announced."""
        held = self._held.get(number)
        if held is not None:
            held.stream.abort(why)
            self._forget(held)

    def close(self, number: int, last: bytes, why: str) -> None:
        """End a stream now, after last words; see `ResumableStream.close`. No `StreamOver` is announced."""
        held = self._held.get(number)
        if held is not None:
            held.stream.close(last, why)
            self._forget(held)

    def take(self, number: int) -> bytes:
        """Return what has arrived on a stream and forget it; once more after the stream is over."""
        held = self._held.get(number)
        if held is None:
            over = self._untaken.pop(number, None)
            return over.take() if over is not None else b""
        data = held.stream.take()
        self._touch(held)
        return data

    def next_event(self) -> ServerEvent | None:
        """Return the next announcement, None if there is no more."""
        return self._events.popleft() if self._events else None

    @property
    def deadline(self) -> float | None:
        """The time at which `wakeup` is due, None if not before something else happens."""
        return self._timers.deadline

    # -- the connections' side

    def accepted(self, carrier: int, now: float) -> None:
        """Note that there is a new connection."""
        new = self._carriers[carrier] = _Carrier(carrier)
        new.out.append(offer(plain=self._plain))
        self._touched[carrier] = None
        self._timers.set((_Limit.HANDSHAKE, carrier), now + self._policy.handshake)

    def secured(self, carrier: int, names: tuple[str, ...]) -> None:
        """Note the names of the certificate that the client of a connection has shown."""
        if carrier in self._carriers:
            self._carriers[carrier].names = names

    def receive(self, carrier: int, data: bytes, now: float) -> None:
        """Take bytes of a connection. One that is over, or is the owner's, is passed over."""
        connection = self._carriers.get(carrier)
        if connection is None or connection.machine.state is _State.OVER:
            return
        try:
            if connection.reader is None:
                self._choose(connection, data, now)
            else:
                self._read(connection, connection.reader, data, now)
        except RemoteProtocolError as error:
            why = f"it broke the protocol: {error}"
            held = connection.held
            if held is None:
                self._drop(connection, why)
            else:
                held.stream.abort(why)
                self._see_to_end(held)

    def disconnected(self, carrier: int, why: str, now: float) -> None:
        """Note that a connection is over."""
        connection = self._carriers.get(carrier)
        if connection is None:
            return
        connection.out.clear()
        self._lose(connection, why or "the connection was closed", now, told=True)

    def wakeup(self, now: float) -> None:
        """Look at the clock."""
        for timer, number in self._timers.pop_expired(now):
            if timer is _Limit.HANDSHAKE:
                connection = self._carriers.get(number)
                if connection is not None:
                    self._drop(connection, "no handshake in time")
                continue
            held = self._held.get(number)
            if held is not None:
                held.due = None
                if held.stream.look(now) and held.carrier is not None:
                    self._lose(held.carrier, f"no sign of life for {self._policy.silence:g} s", now, told=False)
                self._touch(held)
                self._see_to_end(held)

    def carriers_to_send(self) -> list[int]:
        """Return the connections that may have something to send since the last time, each once."""
        touched, self._touched = self._touched, {}
        return [number for number in touched if number in self._carriers]

    def data_to_send(self, carrier: int) -> bytes:
        """Return bytes for a connection and forget them."""
        connection = self._carriers.get(carrier)
        if connection is None:
            return b""
        data = connection.held.stream.data_to_send() if connection.held is not None else b""
        if connection.out:
            data = b"".join(connection.out) + data
            connection.out.clear()
        if connection.machine.state is _State.OVER:
            del self._carriers[carrier]
        return data

    # -- inside

    def _choose(self, connection: _Carrier, data: bytes, now: float) -> None:
        connection.choice += data
        chosen = read_choice(connection.choice)
        if chosen is None:
            return
        choice, connection.choice = connection.choice, b""
        if not chosen and self._plain:
            connection.machine.fire(_Event.OTHER_CHOICE)
            self._timers.cancel((_Limit.HANDSHAKE, connection.number))
            del self._carriers[connection.number]
            self._events.append(PlainCame(connection.number, choice, b"".join(connection.out)))
        elif not chosen:
            self._drop(connection, NO_STREAM)
        else:
            connection.machine.fire(_Event.CHOICE)
            connection.nonce = derive(self._secret, b"nonce", connection.number)
            connection.out.append(write(Challenge(connection.nonce)))
            connection.reader = FrameReader()
            self._touched[connection.number] = None
            if len(choice) > len(CHOICE):
                self._read(connection, connection.reader, choice[len(CHOICE) :], now)

    def _read(self, connection: _Carrier, reader: FrameReader, data: bytes, now: float) -> None:
        reader.feed(data)
        held = connection.held
        if held is not None:
            held.stream.heard(now)
        while (frame := reader.next_frame()) is not None:
            if held is None:
                if not isinstance(frame, Hello):
                    raise RemoteProtocolError(f"a {type(frame).__name__} instead of a hello")
                self._greet(connection, reader, frame, now)
                held = connection.held
            else:
                held.stream.take_frame(frame, now)
            if connection.machine.state is _State.OVER or (held is not None and held.stream.over):
                break
        if held is not None:
            if held.stream.arrived or held.stream.peer_ended:
                self._events.append(Arrived(held.number))
            self._touch(held)
            self._see_to_end(held)

    def _greet(self, connection: _Carrier, reader: FrameReader, hello: Hello, now: float) -> None:
        held = self._by_id.get(hello.stream) if hello.stream else None
        if hello.stream and held is None:
            self._refuse(connection, Reason.UNKNOWN, "the stream is not known here, or not any more")
            return
        key = opening_key(self._key) if held is None else held.key
        fields = hello_fields(hello.stream, hello.carrier, hello.position)
        if not is_equal(prove_client(key, connection.nonce, hello.nonce, fields), hello.proof):
            self._refuse(connection, Reason.DENIED, "the proof is false")
        elif held is None:
            self._open(connection, reader, hello, key, now)
        elif connection.names != held.names:
            self._refuse(connection, Reason.DENIED, "the certificate is not the one of the stream")
        elif hello.carrier <= held.count:
            self._refuse(connection, Reason.STALE, "a newer connection carries the stream")
        else:
            self._resume(connection, reader, hello, held, now)

    def _open(self, connection: _Carrier, reader: FrameReader, hello: Hello, key: bytes, now: float) -> None:
        if self.leaving:
            self._refuse(connection, Reason.LEAVING, "no new streams are taken: the program is about to end")
            return
        if len(self._held) >= self._most:
            self._refuse(connection, Reason.FULL, f"there are {self._most} streams, and no more are taken")
            return
        number = connection.number
        token = derive(self._secret, b"token", number)
        name = stream_id(self._secret, number)
        held = _Held(number, ResumableStream(self._policy), name, resuming_key(self._key, token), connection.names)
        self._held[number] = self._by_id[name] = held
        self._events.append(StreamCame(number))
        self._carry(connection, reader, hello, held, key, token, now)

    def _resume(self, connection: _Carrier, reader: FrameReader, hello: Hello, held: _Held, now: float) -> None:
        if held.carrier is not None:
            self._lose(held.carrier, "a newer connection took its place", now, told=False)
        back = now - held.stream.cut_at
        held.stream.approached()
        self._carry(connection, reader, hello, held, held.key, b"", now)
        self._events.append(CarrierBack(held.number, connection.number, back))

    def _carry(
        self, connection: _Carrier, reader: FrameReader, hello: Hello, held: _Held, key: bytes, token: bytes, now: float
    ) -> None:
        connection.machine.fire(_Event.HELLO)
        self._timers.cancel((_Limit.HANDSHAKE, connection.number))
        connection.held = held
        held.carrier = connection
        held.count = hello.carrier
        here = held.stream.here()
        proof = prove_server(key, connection.nonce, hello.nonce, welcome_fields(held.id, token, here))
        connection.out.append(write(Welcome(held.id, token, here, proof)))
        reader.proven = True
        # A welcome with a token may not arrive; then the client does not come back, for it knows of no stream.
        held.stream.proven(hello.position, now, known=not token)

    def _refuse(self, connection: _Carrier, reason: Reason, words: str) -> None:
        connection.machine.fire(_Event.FALSE_HELLO)
        connection.out.append(write(Refusal(reason, words)))
        self._let_go(connection, words)

    def _drop(self, connection: _Carrier, why: str) -> None:
        """Close the connection of a stranger."""
        connection.machine.fire(_Event.LOST)
        self._let_go(connection, why)

    def _let_go(self, connection: _Carrier, why: str) -> None:
        self._timers.cancel((_Limit.HANDSHAKE, connection.number))
        self._events.append(CarrierOver(connection.number, why, stranger=connection.held is None))

    def _lose(self, connection: _Carrier, why: str, now: float, *, told: bool) -> None:
        """Do without a connection, whose end the owner told, or is to be told."""
        held, connection.held = connection.held, None
        over = connection.machine.state is _State.OVER
        if not over:
            connection.machine.fire(_Event.LOST)
        if told:
            del self._carriers[connection.number]
            self._timers.cancel((_Limit.HANDSHAKE, connection.number))
        elif not over:
            self._events.append(CarrierOver(connection.number, why, stranger=held is None))
        if held is None or held.carrier is not connection:
            return
        held.carrier = None
        if not held.stream.over:
            held.stream.lost(now)
            self._events.append(CarrierLost(held.number, why, held.stream.unacknowledged))
            self._touch(held)

    def _touch(self, held: _Held) -> None:
        """Note that a stream may have something to send, and another deadline."""
        if held.carrier is not None:
            self._touched[held.carrier.number] = None
        due = held.stream.deadline
        if due != held.due:
            held.due = due
            if due is None:
                self._timers.cancel((_Limit.STREAM, held.number))
            else:
                self._timers.set((_Limit.STREAM, held.number), due)

    def _see_to_end(self, held: _Held) -> None:
        if held.stream.over and held.number in self._held:
            if held.stream.arrived:
                self._untaken[held.number] = held.stream
            self._forget(held)
            self._events.append(StreamOver(held.number, held.stream.why))

    def _forget(self, held: _Held) -> None:
        del self._held[held.number]
        del self._by_id[held.id]
        self._timers.cancel((_Limit.STREAM, held.number))
        connection, held.carrier = held.carrier, None
        if connection is not None and connection.machine.state is not _State.OVER:
            # It still has to send the stream's last words.
            self._touched[connection.number] = None
            connection.machine.fire(_Event.LOST)
            self._events.append(CarrierOver(connection.number, held.stream.why, stranger=False))
