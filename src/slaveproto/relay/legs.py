"""The two legs of a pair. What one brings, the other takes; each says when it can take no more.

Rules.

* A leg that is congested is sent nothing: what its partner brings waits there, and the partner is left unread.
* The end of a direction is passed on after everything before it. A leg that is lost ends its partner.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from slaveproto.machine import Machine
from slaveproto.relay.states import WRITING, WritingEvent, WritingState
from slaveproto.resume.states import ARRIVING, LEAVING, DirectionEvent, DirectionState

if TYPE_CHECKING:
    from slaveproto.resume.client import ResumingClient
    from slaveproto.resume.server import ResumingServer
    from slaveproto.resume.stream import ResumableStream

HIGH_WATER: Final = 256 * 1024
"""Bytes that wait for a plain connection, beyond which its partner is left unread."""

BATCH: Final = 256 * 1024
"""Bytes from which on a piece is sent by itself."""


class Leg(Protocol):
    """One side of a pair."""

    @property
    def congested(self) -> bool:
        """Whether it should be sent nothing for now."""

    @property
    def ended(self) -> bool:
        """Whether it brings nothing more, and all that it brought was taken."""

    @property
    def ending(self) -> bool:
        """Whether `end` was called."""

    @property
    def over(self) -> bool:
        """Whether both directions have ended and everything is out."""

    def take(self) -> bytes:
        """Return what it brought and forget it."""

    def send(self, data: bytes) -> None:
        """Take bytes for the other end."""

    def end(self) -> None:
        """Tell the other end that nothing more comes, after everything that was sent."""

    def abort(self, why: str) -> None:
        """End both directions now."""


class PlainLeg:
    """A plain connection.

    Args:
        number: of the connection.
    """

    # A relay has thousands.
    __slots__ = ("_arriving", "_brought", "_size", "_unsent", "_writing", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self._arriving = Machine(ARRIVING)
        self._writing = Machine(WRITING)
        self._brought: list[bytes] = []
        self._unsent: deque[bytes] = deque()
        self._size = 0

    @property
    def congested(self) -> bool:
        """See `Leg`."""
        return self._size > HIGH_WATER

    @property
    def full(self) -> bool:
        """Whether it brought something that is not taken."""
        return bool(self._brought)

    @property
    def ended(self) -> bool:
        """See `Leg`."""
        return self._arriving.state is DirectionState.ENDED and not self._brought

    @property
    def ending(self) -> bool:
        """See `Leg`."""
        return self._writing.state is not WritingState.OPEN

    @property
    def over(self) -> bool:
        """See `Leg`."""
        return self.ended and self._writing.state is WritingState.SHUT

    def bring(self, data: bytes) -> None:
        """Take bytes of the other end; none mean that it has ended."""
        if data:
            self._brought.append(data)
        else:
            self._arriving.fire(DirectionEvent.END)

    def take(self) -> bytes:
        """See `Leg`."""
        brought = self._brought
        if not brought:
            return b""
        data = brought[0] if len(brought) == 1 else b"".join(brought)
        brought.clear()
        return data

    def send(self, data: bytes) -> None:
        """See `Leg`."""
        self._unsent.append(data)
        self._size += len(data)

    def end(self) -> None:
        """See `Leg`."""
        self._writing.fire(WritingEvent.END)

    def shut(self) -> bool:
        """Return whether this is the moment to say nothing more: once, when `end` was called and everything is out."""
        if self._unsent or self._writing.state is not WritingState.ENDING:
            return False
        self._writing.fire(WritingEvent.SHUT)
        return True

    def abort(self, why: str) -> None:
        """See `Leg`. What it was sent still goes out, with the request to hang up."""

    def data_to_send(self) -> bytes:
        """Return a batch and forget it."""
        unsent = self._unsent
        if not unsent:
            return b""
        if len(unsent) == 1 or len(unsent[0]) >= BATCH:
            data = unsent.popleft()
        else:
            data = b"".join(unsent)
            unsent.clear()
        self._size -= len(data)
        return data

    def rest(self) -> bytes:
        """Return everything that is not sent."""
        return b"".join(self._unsent)


class ClientLeg:
    """A stream that this relay opened.

    Args:
        client: the stream.
    """

    __slots__ = ("_leaving", "carrier", "client", "due")

    def __init__(self, client: ResumingClient) -> None:
        self.client = client
        self.carrier = 0
        """The number of its present connection, 0 for none."""
        self.due: float | None = None
        """The time at which it is looked at."""
        self._leaving = Machine(LEAVING)

    @property
    def congested(self) -> bool:
        """See `Leg`."""
        return self.client.stream.congested

    @property
    def ended(self) -> bool:
        """See `Leg`."""
        return self.client.stream.peer_ended

    @property
    def ending(self) -> bool:
        """See `Leg`."""
        return self._leaving.state is DirectionState.ENDED

    @property
    def over(self) -> bool:
        """See `Leg`."""
        return self.client.stream.over

    def take(self) -> bytes:
        """See `Leg`."""
        return self.client.take()

    def send(self, data: bytes) -> None:
        """See `Leg`."""
        self.client.send(data)

    def end(self) -> None:
        """See `Leg`."""
        self._leaving.fire(DirectionEvent.END)
        self.client.end()

    def abort(self, why: str) -> None:
        """See `Leg`."""
        self.client.abort(why)


class ServerLeg:
    """A stream that came in.

    Args:
        server: where it came in.
        number: of the stream.
        stream: the stream itself, to be looked at.
    """

    __slots__ = ("_leaving", "_server", "_stream", "number")

    def __init__(self, server: ResumingServer, number: int, stream: ResumableStream) -> None:
        self.number = number
        self._server = server
        self._stream = stream
        self._leaving = Machine(LEAVING)

    @property
    def congested(self) -> bool:
        """See `Leg`."""
        return self._stream.congested

    @property
    def ended(self) -> bool:
        """See `Leg`."""
        return self._stream.peer_ended

    @property
    def ending(self) -> bool:
        """See `Leg`."""
        return self._leaving.state is DirectionState.ENDED

    @property
    def over(self) -> bool:
        """See `Leg`."""
        return self._stream.over

    def take(self) -> bytes:
        """See `Leg`."""
        return self._server.take(self.number)

    def send(self, data: bytes) -> None:
        """See `Leg`."""
        self._server.send(self.number, data)

    def end(self) -> None:
        """See `Leg`."""
        self._leaving.fire(DirectionEvent.END)
        self._server.end(self.number)

    def abort(self, why: str) -> None:
        """See `Leg`."""
        self._server.abort(self.number, why)
        # What had arrived is of no use, and the server keeps it until it is taken.
        self._server.take(self.number)
