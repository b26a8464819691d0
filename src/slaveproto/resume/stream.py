"""One end of a stream of bytes that outlives its carriers: what was sent and is not acknowledged, and what arrived.

Rules.

* Nothing is lost and nothing comes twice: what was sent is kept until the other end has acknowledged it, and a new
  carrier goes on at the byte that is missing over there.
* An end may send as far as the other one allows, which is a window behind what its owner took. So the carrier is always
  read, and the signs of life and the acknowledgements on it are seen, however slow the owner is.
* While there is a carrier the owner may be `AHEAD` of it; while there is none, as far as the policy keeps.
* A carrier is dead if no byte of the other end came for the time of the policy. Each end says something often enough
  for that. A byte is a sign of life, also one of a frame that is not complete.
"""

from __future__ import annotations

from collections import deque
from typing import Final, assert_never

from slaveproto.errors import RemoteProtocolError
from slaveproto.machine import Machine
from slaveproto.resume.frames import (
    LARGEST_DATA,
    Ack,
    Beat,
    Challenge,
    Data,
    End,
    Frame,
    Hello,
    Position,
    Refusal,
    Reset,
    Welcome,
    data_header,
    write,
)
from slaveproto.resume.policy import ResumePolicy
from slaveproto.resume.states import (
    ARRIVING,
    LEAVING,
    STREAM,
    DirectionEvent,
    DirectionState,
    StreamEvent,
    StreamState,
)

AHEAD: Final = 1024 * 1024
"""Bytes that may wait to be sent while there is a carrier."""

ACK_DELAY: Final = 0.5
"""Seconds after which a few bytes are acknowledged at the latest."""

ACK_SIZE: Final = 64 * 1024
"""Bytes that are acknowledged at once."""

BEATS: Final = 5
"""Looks whether a sign of life is due, in the time after which the other end takes a carrier for dead."""

NEWBORN: Final = 60.0
"""Most seconds that an other end is waited for that may not know that the stream is open."""

_CARRIED: Final = frozenset({StreamState.CARRYING, StreamState.CLOSING})
_OVER: Final = frozenset({StreamState.CLOSED, StreamState.EXPIRED})


class ResumableStream:
    """One end of a stream. It belongs to a `ResumingClient` or a `ResumingServer`; others only look at it.

    Args:
        policy: patience and bounds.
    """

    # A relay has thousands.
    __slots__ = (
        "_ack_due", "_acknowledged", "_allowed", "_arrived", "_arriving", "_beat_at", "_cut_at", "_end_said", "_given",
        "_heard", "_highest", "_leaving", "_machine", "_out", "_policy", "_position", "_said_allowed", "_said_arrived",
        "_sent", "_shown", "_spoke", "_start", "_taken", "_their_silence", "_unsent", "_waiting", "why",
    )  # fmt: skip

    def __init__(self, policy: ResumePolicy) -> None:
        self.why = ""
        """The reason why it is over, for people; empty if both ends ended it."""
        self._policy = policy
        self._machine = Machine(STREAM)
        # What leaves. `_start` is the offset of the first byte that is kept, `_position` of the next one to send on
        # this carrier, `_highest` of the one after all that was ever sent.
        self._leaving = Machine(LEAVING)
        self._sent: deque[bytes | memoryview] = deque()
        self._unsent: deque[bytes | memoryview] = deque()
        self._start = self._acknowledged = self._position = self._highest = self._given = 0
        self._allowed = 0
        self._end_said = False
        # What arrives.
        self._arriving = Machine(ARRIVING)
        self._waiting: list[bytes] = []
        self._arrived = self._taken = self._said_arrived = self._said_allowed = 0
        # The carrier.
        self._out: list[bytes | memoryview] = []
        self._heard = self._beat_at = self._cut_at = 0.0
        self._their_silence = policy.silence
        self._spoke = False
        self._ack_due: float | None = None
        # Whether the other end has shown that it knows that the stream is open.
        self._shown = False

    # -- to be looked at

    @property
    def state(self) -> StreamState:
        """The state of the stream."""
        return self._machine.state

    @property
    def begun(self) -> bool:
        """Whether it is open, or was."""
        return self._machine.state is not StreamState.OPENING

    @property
    def over(self) -> bool:
        """Whether it has ended: nothing comes and goes any more."""
        return self._machine.state in _OVER

    @property
    def carried(self) -> bool:
        """Whether there is a carrier on which bytes come and go."""
        return self._machine.state in _CARRIED

    @property
    def arrived(self) -> bool:
        """Whether there is something to take."""
        return bool(self._waiting)

    @property
    def peer_ended(self) -> bool:
        """Whether nothing more will come, and all that came was taken."""
        return self._arriving.state is DirectionState.ENDED and not self._waiting

    @property
    def unacknowledged(self) -> int:
        """Bytes that were sent and may not have arrived."""
        return self._given - min(self._acknowledged, self._given)

    @property
    def unsent(self) -> int:
        """Bytes that the present carrier did not get yet."""
        return self._given - min(self._position, self._given)

    @property
    def congested(self) -> bool:
        """Whether so much waits that the owner should send nothing more for now."""
        if self.carried and self.unsent > AHEAD:
            return True
        return self.unacknowledged > self._policy.kept

    @property
    def cut_at(self) -> float:
        """The time at which it lost its last carrier."""
        return self._cut_at

    @property
    def deadline(self) -> float | None:
        """The time at which `look` is due."""
        state = self._machine.state
        if state in _CARRIED:
            due = min(self._beat_at, self._heard + self._policy.silence)
            return due if self._ack_due is None else min(due, self._ack_due)
        if state is StreamState.CUT or state is StreamState.RESUMING:
            return self._cut_at + self._patience
        return None

    # -- the owner's side

    def send(self, data: bytes) -> None:
        """Send bytes. On a stream that is over they go nowhere.

        Raises:
            LocalProtocolError: after `end`.
        """
        if self.over or not data:
            return
        self._leaving.fire(DirectionEvent.DATA)
        self._unsent.append(data)
        self._given += len(data)

    def end(self) -> None:
        """Tell that nothing more will be sent. What was sent before is still delivered, and the other end may go on.

        Raises:
            LocalProtocolError: for the second time.
        """
        if self.over:
            return
        self._leaving.fire(DirectionEvent.END)
        self._check_ends()

    def abort(self, why: str) -> None:
        """End both directions now. The other end is told if there is a carrier, and waits no longer."""
        if self.over:
            return
        carried = self.carried
        self._finish(StreamEvent.ABORT, why)
        if carried:
            self._out.append(write(Reset(why)))

    def close(self, last: bytes, why: str) -> None:
        """End both directions now, after last words, of which the present carrier takes what the window allows."""
        self.send(last)
        parts = []
        while self.carried and (data := self.data_to_send()):
            parts.append(data)
        self.abort(why)
        self._out[:0] = parts

    def take(self) -> bytes:
        """Return what has arrived and forget it; so much more may be sent."""
        waiting = self._waiting
        if not waiting:
            return b""
        data = waiting[0] if len(waiting) == 1 else b"".join(waiting)
        waiting.clear()
        self._taken += len(data)
        return data

    # -- the carrier's side

    def here(self) -> Position:
        """Return the position that a new carrier begins with."""
        self._said_arrived = self._arrived
        self._said_allowed = self._taken + self._policy.window
        return Position(self._said_arrived, self._said_allowed, self._policy.silence)

    def approached(self) -> None:
        """Note that there is a new connection; nothing is proven yet."""
        if self.begun:
            self._machine.fire(StreamEvent.CARRIER)

    def proven(self, there: Position, now: float, *, known: bool) -> None:
        """Go on over a carrier that is the other end's, which said where it is.

        Args:
            there: the position of the other end.
            now: the time.
            known: whether the other end is sure to know by now that the stream is open.

        Raises:
            RemoteProtocolError: it cannot be there.
        """
        if not self._acknowledged <= there.arrived <= self._highest:
            raise RemoteProtocolError(f"byte {there.arrived} is not the one that is missing")
        self._shown = known
        self._machine.fire(StreamEvent.PROVEN)
        self._acknowledge(there.arrived)
        self._allowed = there.allowed
        self._their_silence = there.silence
        self._heard = now
        self._beat_at = now + self._tick
        self._spoke = True
        self._check_ends()

    def lost(self, now: float) -> bool:
        """Note that the present connection is over. Return whether the stream is, too: it was not open yet."""
        if self.carried:
            # An attempt that failed does not begin a new patience.
            self._cut_at = now
        self._machine.fire(StreamEvent.LOST)
        self._ack_due = None
        self._out.clear()
        self._end_said = False
        self._sent.extend(self._unsent)
        self._sent, self._unsent = self._unsent, self._sent
        self._sent.clear()
        self._position = self._start
        return self.over

    def refused(self, why: str) -> None:
        """Note that the other end does not take, or does not know, this stream."""
        ended = self._arriving.state is DirectionState.ENDED and self._leaving.state is DirectionState.ENDED
        if self._machine.state is StreamState.RESUMING and ended and not self.unacknowledged:
            # It forgot the stream after all had arrived: only the word for the end was lost.
            why = ""
        self._finish(StreamEvent.REFUSED, why)

    def heard(self, now: float) -> None:
        """Note that bytes came."""
        self._heard = now

    def take_frame(self, frame: Frame, now: float) -> None:
        """Take a frame of a carrier that is proven.

        Raises:
            RemoteProtocolError: it breaks the protocol.
        """
        self._shown = True
        match frame:
            case Data(offset, data):
                self._arriving.fire(DirectionEvent.DATA)
                if offset != self._arrived:
                    raise RemoteProtocolError(f"data for byte {offset}, where {self._arrived} is the next one")
                self._arrived += len(data)
                if self._arrived > self._said_allowed:
                    raise RemoteProtocolError("more data than the window allows")
                self._waiting.append(data)
                if self._ack_due is None:
                    self._ack_due = now + ACK_DELAY
            case Ack(arrived, allowed):
                if not self._acknowledged <= arrived <= self._position + self._end_said:
                    raise RemoteProtocolError(f"byte {arrived} is not the one that is missing")
                self._acknowledge(arrived)
                self._allowed = allowed
                self._check_ends()
            case Beat():
                pass
            case End(offset):
                if offset != self._arrived:
                    raise RemoteProtocolError(f"an end at byte {offset}, where {self._arrived} is the next one")
                self._arriving.fire(DirectionEvent.END)
                self._arrived += 1
                self.acknowledge()
                self._check_ends()
            case Reset(words):
                self._finish(StreamEvent.RESET, words or "the other end gave it up")
            case Challenge() | Hello() | Welcome() | Refusal():
                raise RemoteProtocolError(f"a {type(frame).__name__} after the handshake")
            case _:
                assert_never(frame)

    def acknowledge(self) -> None:
        """Tell the other end where we are."""
        self._ack_due = None
        here = self.here()
        self._out.append(write(Ack(here.arrived, here.allowed)))

    def look(self, now: float) -> bool:
        """See to what is due. Return whether the carrier is dead; a stream that waited too long is over."""
        state = self._machine.state
        if state is StreamState.CUT or state is StreamState.RESUMING:
            if now >= self._cut_at + self._patience:
                self._finish(StreamEvent.EXPIRE, f"the other end did not come back within {self._patience:g} s")
            return False
        if state not in _CARRIED:
            return False
        if now >= self._heard + self._policy.silence:
            return True
        if self._ack_due is not None and now >= self._ack_due:
            self.acknowledge()
        if now >= self._beat_at:
            if not self._spoke:
                self._out.append(write(Beat()))
            self._spoke = False
            self._beat_at = now + self._tick
        return False

    def data_to_send(self) -> bytes:
        """Return bytes for the present carrier, whole frames, and forget them; at most one frame with data."""
        if self.carried:
            if self._must_ack:
                self.acknowledge()
            if self._may_send:
                self._write_data()
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        self._spoke = True
        return data

    # -- inside

    @property
    def _patience(self) -> float:
        return self._policy.patience if self._shown else min(self._policy.patience, NEWBORN)

    @property
    def _tick(self) -> float:
        return max(0.01, self._their_silence / BEATS)

    @property
    def _must_ack(self) -> bool:
        if self._arrived - self._said_arrived >= ACK_SIZE:
            return True
        # Its window is about to close.
        return self._taken + self._policy.window - self._said_allowed >= self._policy.window // 4

    @property
    def _may_send(self) -> bool:
        if self._unsent:
            return self._position < self._allowed
        return self._leaving.state is DirectionState.ENDED and not self._end_said and self._acknowledged <= self._given

    def _write_data(self) -> None:
        unsent, sent = self._unsent, self._sent
        room = min(LARGEST_DATA, self._allowed - self._position)
        parts: list[bytes | memoryview] = []
        size = 0
        while unsent and size < room:
            chunk = unsent.popleft()
            if size + len(chunk) > room:
                cut = room - size
                # No copies: how often a chunk is cut is up to the other end.
                chunk = memoryview(chunk)
                unsent.appendleft(chunk[cut:])
                chunk = chunk[:cut]
            parts.append(chunk)
            size += len(chunk)
        if size:
            if self._ack_due is not None:
                # It travels along.
                self.acknowledge()
            self._out.append(data_header(self._position, size))
            self._out += parts
            sent.extend(parts)
            self._position += size
            self._highest = max(self._highest, self._position)
        if not unsent and self._leaving.state is DirectionState.ENDED:
            self._out.append(write(End(self._given)))
            self._end_said = True
            self._highest = self._given + 1

    def _acknowledge(self, arrived: int) -> None:
        """Forget what has arrived, and send on from there if this is a new carrier."""
        self._acknowledged = arrived
        for chunks in (self._sent, self._unsent):
            while chunks and self._start + len(chunks[0]) <= arrived:
                self._start += len(chunks.popleft())
            if chunks:
                break
        if self._position < arrived:
            # A new carrier: it goes on there.
            done = min(arrived, self._given) - self._start
            if done:
                self._unsent[0] = memoryview(self._unsent[0])[done:]
                self._start += done
            self._position = self._start
        if arrived > self._given:
            self._end_said = True

    def _check_ends(self) -> None:
        ended = DirectionState.ENDED
        if self._leaving.state is not ended or self._arriving.state is not ended:
            return
        if self._machine.state is StreamState.CARRYING:
            self._machine.fire(StreamEvent.BOTH_ENDED)
        if self._machine.state is StreamState.CLOSING and self._acknowledged > self._given:
            self._forget()
            self._machine.fire(StreamEvent.ALL_ARRIVED)

    def _finish(self, event: StreamEvent, why: str) -> None:
        self._machine.fire(event)
        self.why = why
        self._out.clear()
        self._forget()

    def _forget(self) -> None:
        """Keep nothing for the other end any more."""
        self._sent.clear()
        self._unsent.clear()
        self._acknowledged = max(self._acknowledged, self._given)
        self._position = max(self._position, self._given)
