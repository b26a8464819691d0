"""The line to the master: one connection, or a stream that outlives its connections.

Rules.

* The first connection is the session's to time, and its loss ends the line. Only a stream that is open goes on without
  a connection, and opens others; all that the session hears of them is `LineLost` and `LineBack`.
* A master that offers no stream is spoken to plainly, over the same connection: it has not been sent a byte before.
* What a plain connection has not sent stays with the session; a stream takes it at once, and says when it is too much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, assert_never

from slaveproto.effects import CloseConnection, OpenConnection
from slaveproto.resume.client import ResumingClient
from slaveproto.resume.events import (
    Arrived,
    CarrierBack,
    CarrierLost,
    DialWanted,
    HangUpWanted,
    PlainPeer,
    StreamOpened,
    StreamOver,
)
from slaveproto.resume.policy import ResumePolicy
from slaveproto.resume.states import StreamState
from slaveproto.scripts import TaskPool
from slaveproto.slave.config import SlaveConfig
from slaveproto.slave.events import LineBack, LineLost

POLICY: Final = ResumePolicy()
"""Patience and bounds of the stream."""


class Line:
    """One line, from its first connection to its end.

    Args:
        config: who the slave is.
        pool: takes the requests for connections.
        seed: 32 bytes of randomness of this line alone; None to speak plainly.
        jitter: draws a number between 0 and the one that it is given.
    """

    def __init__(
        self, config: SlaveConfig, pool: TaskPool, seed: bytes | None, jitter: Callable[[float], float]
    ) -> None:
        self.connection: int | None = None
        """The id of the request that opened the present connection."""
        self.over: str | None = None
        """The reason why the line is over; None while it is not."""
        self.notices: list[LineLost | LineBack] = []
        """Announcements for the session to take."""
        self._config = config
        self._pool = pool
        self._client = None if seed is None else ResumingClient(seed, jitter, POLICY)
        self._begun = False
        # The time by which a connection of an open stream has to be there.
        self._dial_due: float | None = None
        if self._client is None:
            self._dial()
        else:
            self._heed(self._client, 0.0)

    # -- to be looked at

    @property
    def lasts(self) -> bool:
        """Whether it is a stream that outlives its connections."""
        return self._client is not None and self._client.stream.state is not StreamState.OPENING

    @property
    def cut(self) -> bool:
        """Whether it is a stream without a connection."""
        return self.lasts and self._client is not None and not self._client.stream.carried

    @property
    def plain(self) -> bool:
        """Whether it is one connection, and no more."""
        return self._client is None

    @property
    def waiting(self) -> int:
        """Bytes that wait for the connection. Those that wait while there is none count if they are too many."""
        stream = None if self._client is None else self._client.stream
        if stream is None or (self.cut and not stream.congested):
            return 0
        return stream.unacknowledged if self.cut else stream.unsent

    @property
    def unacknowledged(self) -> int | None:
        """Bytes of a stream that may not have arrived; None for a plain connection, which does not know."""
        return self._client.stream.unacknowledged if self._client is not None and self.lasts else None

    @property
    def deadline(self) -> float | None:
        """The time at which `wakeup` is due."""
        client = None if self._client is None else self._client.deadline
        if client is None or self._dial_due is None:
            return self._dial_due if client is None else client
        return min(client, self._dial_due)

    # -- what happens

    def connected(self, now: float) -> bool:
        """Note that the connection is open. Return whether it is the first one."""
        first, self._begun = not self._begun, True
        self._dial_due = None
        if self._client is not None:
            self._client.connected(now)
        return first

    def receive(self, data: bytes, now: float) -> bytes:
        """Take bytes of the present connection, and return what the master said with them."""
        if self._client is None:
            return data
        self._client.receive(data, now)
        return self._heed(self._client, now)

    def disconnected(self, why: str, now: float) -> bool:
        """Note that the connection is over. Return whether the line is, too."""
        # The runner closed it already.
        self.connection = None
        self._dial_due = None
        if self._client is None or not self.lasts:
            return True
        self._client.disconnected(why, now)
        self._heed(self._client, now)
        return False

    def wakeup(self, now: float) -> None:
        """Look at the clock."""
        client = self._client
        if client is None:
            return
        if self._dial_due is not None and now >= self._dial_due:
            self._hang_up(b"")
            client.disconnected(f"no connection within {self._config.connect_timeout:g} s", now)
        client.wakeup(now)
        self._heed(client, now)

    # -- what is sent

    def send(self, data: bytes) -> None:
        """Send bytes over a stream."""
        if self._client is not None:
            self._client.send(data)

    def data_to_send(self) -> bytes:
        """Return bytes of a stream, or of its beginning, for the present connection, and forget them."""
        return b"" if self._client is None else self._client.data_to_send()

    def close(self, last: bytes, why: str) -> None:
        """End the line, after `last`."""
        client = self._client
        if client is not None and client.stream.carried:
            client.send(last)
            parts = []
            while data := client.data_to_send():
                parts.append(data)
            client.abort(why)
            last = b"".join((*parts, client.data_to_send()))
        self._hang_up(last)

    # -- inside

    def _dial(self) -> None:
        self.connection = self._pool.request(OpenConnection(self._config.host, self._config.port))

    def _hang_up(self, last: bytes) -> None:
        self._dial_due = None
        if self.connection is not None:
            self._pool.request(CloseConnection(self.connection, last))
            self.connection = None

    def _heed(self, client: ResumingClient, now: float) -> bytes:
        """Take what the stream announces, and return what it brought."""
        brought = b""
        while (event := client.next_event()) is not None:
            match event:
                case DialWanted():
                    self._dial()
                    if self._begun:
                        self._dial_due = now + self._config.connect_timeout
                case StreamOpened():
                    pass
                case PlainPeer(data):
                    self._client = None
                    return data
                case HangUpWanted():
                    self._hang_up(client.data_to_send())
                case CarrierLost(_, why, unacknowledged):
                    self.notices.append(LineLost(why, unacknowledged))
                case CarrierBack(_, seconds):
                    self.notices.append(LineBack(seconds))
                case Arrived():
                    brought += client.take()
                    if client.stream.peer_ended:
                        self.over = "the master closed the connection"
                case StreamOver(_, why):
                    self.over = why or "the master closed the connection"
                case _:
                    assert_never(event)
        return brought
