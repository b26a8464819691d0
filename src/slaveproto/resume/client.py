"""The end of a stream that connects, and connects again.

Rules.

* One connection at a time. Once the stream is open, a connection that is lost is followed by another one at once, and
  then by further attempts at moments that are drawn, in rounds that grow.
* A first connection that fails is not repeated: without a stream there is nothing to lose, and the owner knows best
  when to try again.
* Connections are counted, so that the server can tell an old one that comes late from the present one.
* A server that does not offer streams is plain: it has heard nothing yet, and the owner goes on with the connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, assert_never

from slaveproto.errors import RemoteProtocolError
from slaveproto.machine import Machine
from slaveproto.resume.events import (
    Arrived,
    CarrierBack,
    CarrierLost,
    ClientEvent,
    DialWanted,
    HangUpWanted,
    PlainPeer,
    StreamOpened,
    StreamOver,
)
from slaveproto.resume.frames import (
    Challenge,
    Frame,
    FrameReader,
    Hello,
    Reason,
    Refusal,
    Welcome,
    hello_fields,
    welcome_fields,
    write,
)
from slaveproto.resume.greeting import CHOICE, read_offer
from slaveproto.resume.policy import ResumePolicy
from slaveproto.resume.proof import derive, is_equal, opening_key, prove_client, prove_server, resuming_key
from slaveproto.resume.states import CLIENT_CARRIER, ClientCarrierEvent, ClientCarrierState
from slaveproto.resume.stream import ResumableStream

FIRST_ROUND: Final = 2.0
"""Seconds in which the second attempt falls; the first one is at once."""

LAST_ROUND: Final = 30.0
"""Most seconds of a round, each of which is twice as long as the one before."""

_Event = ClientCarrierEvent
_State = ClientCarrierState


class ResumingClient:
    """One stream to a server.

    Args:
        seed: 32 bytes of randomness; others for each client.
        jitter: draws a number between 0 and the one that it is given.
        policy: patience and bounds.
        key: the secret that the server demands of those that open a stream; empty for none.
    """

    __slots__ = (
        "_announced_end", "_attempts", "_carrier", "_dial_at", "_events", "_handshake_due", "_id", "_jitter", "_key",
        "_machine", "_nonce", "_offer", "_out", "_policy", "_proof_key", "_reader", "_seed", "_server_nonce",
        "stream",
    )  # fmt: skip

    def __init__(
        self,
        seed: bytes,
        jitter: Callable[[float], float],
        policy: ResumePolicy = ResumePolicy(),  # noqa: B008  frozen
        key: bytes = b"",
    ) -> None:
        self.stream = ResumableStream(policy)
        """The stream, to be looked at."""
        self._seed = seed
        self._jitter = jitter
        self._policy = policy
        self._key = key
        self._events: deque[ClientEvent] = deque()
        self._id = b""
        self._proof_key = opening_key(key)
        self._announced_end = False
        # The present connection, and when to make the next one.
        self._carrier = 0
        self._machine = Machine(CLIENT_CARRIER)
        self._reader = FrameReader()
        self._offer = b""
        self._out: list[bytes] = []
        self._nonce = self._server_nonce = b""
        self._handshake_due: float | None = None
        self._dial_at: float | None = None
        self._attempts = 0
        self._dial()

    # -- the owner's side

    def send(self, data: bytes) -> None:
        """Send bytes over the stream; see `ResumableStream.send`."""
        self.stream.send(data)

    def end(self) -> None:
        """Send nothing more; see `ResumableStream.end`."""
        self.stream.end()
        self._see_to_end()

    def abort(self, why: str) -> None:
        """End the stream now; see `ResumableStream.abort`. All that is announced then is `HangUpWanted`."""
        self._announced_end = True
        self.stream.abort(why)
        self._see_to_end()

    def close(self, last: bytes, why: str) -> None:
        """End the stream now, after last words; see `ResumableStream.close`, and `abort`."""
        self._announced_end = True
        self.stream.close(last, why)
        self._see_to_end()

    def take(self) -> bytes:
        """Return what has arrived and forget it."""
        return self.stream.take()

    def next_event(self) -> ClientEvent | None:
        """Return the next announcement, None if there is no more."""
        return self._events.popleft() if self._events else None

    @property
    def deadline(self) -> float | None:
        """The time at which `wakeup` is due, None if not before something else happens."""
        due = [self.stream.deadline, self._handshake_due, self._dial_at]
        return min((time for time in due if time is not None), default=None)

    # -- the connection's side

    def connected(self, now: float) -> None:
        """Note that the connection is open."""
        self._machine.fire(_Event.CONNECTED)
        # A plain server that has more to do may be slow.
        self._handshake_due = now + (self._policy.handshake if self.stream.begun else self._policy.silence)

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes of the present connection."""
        try:
            match self._machine.state:
                case _State.AWAITING_OFFER:
                    self._read_offer(data, now)
                case _State.AWAITING_CHALLENGE | _State.AWAITING_WELCOME | _State.PROVEN:
                    self._read(data, now)
                case _State.CONNECTING | _State.PLAIN | _State.OVER:
                    pass
                case state:
                    assert_never(state)
        except RemoteProtocolError as error:
            self._broken(f"the other end broke the protocol: {error}")

    def disconnected(self, why: str, now: float) -> None:
        """Note that the connection is over, or could not be made."""
        if self._machine.state in (_State.PLAIN, _State.OVER):
            return
        self._lose(why or "the connection was closed", now)

    def wakeup(self, now: float) -> None:
        """Look at the clock."""
        if self._dial_at is not None and now >= self._dial_at:
            self._dial()
        if self._handshake_due is not None and now >= self._handshake_due:
            self._hang_up("no handshake", now)
        if self.stream.look(now):
            self._hang_up(f"no sign of life for {self._policy.silence:g} s", now)
        self._see_to_end()

    def data_to_send(self) -> bytes:
        """Return bytes for the present connection and forget them."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            return data
        return self.stream.data_to_send()

    # -- inside

    def _dial(self) -> None:
        self._dial_at = None
        self._carrier += 1
        self._machine = Machine(CLIENT_CARRIER)
        self._reader = FrameReader()
        self._offer = b""
        self._out.clear()
        self.stream.approached()
        self._events.append(DialWanted())

    def _read_offer(self, data: bytes, now: float) -> None:
        self._offer += data
        offered = read_offer(self._offer)
        if offered is None:
            return
        if offered:
            self._machine.fire(_Event.OFFER)
            self._out.append(CHOICE)
            self._handshake_due = now + self._policy.handshake
        elif not self.stream.begun and not self._key:
            self._machine.fire(_Event.OTHER_OFFER)
            self._announced_end = True
            self.stream.abort("the other end is plain")
            self._events.append(PlainPeer(self._offer))
        else:
            self._refuse("the other end speaks plain Perspective Broker and no stream that outlives its connections")
        self._offer = b""

    def _read(self, data: bytes, now: float) -> None:
        stream, reader = self.stream, self._reader
        stream.heard(now)
        reader.feed(data)
        while (frame := reader.next_frame()) is not None:
            if self._machine.state is _State.PROVEN:
                stream.take_frame(frame, now)
            else:
                self._shake_hands(frame, now)
            if stream.over or self._machine.state is _State.OVER:
                break
        if stream.arrived or stream.peer_ended:
            self._events.append(Arrived(0))
        self._see_to_end()

    def _shake_hands(self, frame: Frame, now: float) -> None:
        match frame:
            case Challenge(nonce):
                self._machine.fire(_Event.CHALLENGE)
                self._server_nonce = nonce
                self._nonce = derive(self._seed, b"nonce", self._carrier)
                here = self.stream.here()
                fields = hello_fields(self._id, self._carrier, here)
                proof = prove_client(self._proof_key, nonce, self._nonce, fields)
                self._out.append(write(Hello(self._nonce, self._id, self._carrier, here, proof)))
            case Welcome(stream, token, there, proof):
                self._machine.fire(_Event.WELCOME)
                fields = welcome_fields(stream, token, there)
                expected = prove_server(self._proof_key, self._server_nonce, self._nonce, fields)
                if not is_equal(expected, proof) or (self._id and stream != self._id) or bool(token) is bool(self._id):
                    raise RemoteProtocolError("the welcome of another party")
                self._welcomed(stream, token)
                self._reader.proven = True
                back = now - self.stream.cut_at
                # The welcome is the server's word.
                self.stream.proven(there, now, known=True)
                self.stream.acknowledge()
                self._events.append(CarrierBack(0, self._carrier, back) if not token else StreamOpened())
            case Refusal(reason, words):
                self._machine.fire(_Event.REFUSAL)
                self._events.append(HangUpWanted(words))
                if reason is Reason.STALE:
                    self._lose(words, now)
                else:
                    self._refuse(words)
            case _:
                raise RemoteProtocolError(f"a {type(frame).__name__} in the handshake")

    def _welcomed(self, stream: bytes, token: bytes) -> None:
        self._handshake_due = None
        self._attempts = 0
        if token:
            self._id = stream
            self._proof_key = resuming_key(self._key, token)

    def _refuse(self, why: str) -> None:
        """Take the server's word that it does not carry this stream."""
        self.stream.refused(why)
        self._see_to_end()

    def _broken(self, why: str) -> None:
        """End the stream: with a server that breaks the protocol there is no use in another connection."""
        self.stream.abort(why)
        self._see_to_end()

    def _hang_up(self, why: str, now: float) -> None:
        self._events.append(HangUpWanted(why))
        self._lose(why, now)

    def _lose(self, why: str, now: float) -> None:
        stream = self.stream
        carried = stream.carried
        if self._machine.state is not _State.OVER:
            self._machine.fire(_Event.LOST)
        self._handshake_due = None
        self._out.clear()
        if stream.over:
            return
        if stream.lost(now):
            stream.why = why
        elif carried:
            self._events.append(CarrierLost(0, why, stream.unacknowledged))
            self._attempts = 0
            self._dial()
        else:
            self._attempts += 1
            length = min(FIRST_ROUND * 2 ** (self._attempts - 1), LAST_ROUND)
            self._dial_at = now + self._jitter(length)
        self._see_to_end()

    def _see_to_end(self) -> None:
        """Let go of the connection of a stream that is over, and tell."""
        stream = self.stream
        if not stream.over or self._machine.state is _State.PLAIN:
            return
        self._dial_at = self._handshake_due = None
        if self._machine.state is not _State.OVER:
            if self._machine.state is not _State.PROVEN:
                self._out.clear()
            self._machine.fire(_Event.LOST)
            self._events.append(HangUpWanted(stream.why))
        if not self._announced_end:
            self._announced_end = True
            self._events.append(StreamOver(0, stream.why))
