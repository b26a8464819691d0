"""The line to the master: one connection, or a stream that outlives its connections.

Rules.

* The first connection is the session's to time, and its loss ends the line. Only a stream that is open goes on without
  a connection, and opens others; all that the session hears of them is `LineLost` and `LineBack`.
* A master that offers no stream is spoken to plainly, over the same connection: it has not been sent a byte before. The
  modules of the stream are not loaded for it, since the start of a slave does not wait for what it does not need.
* What a plain connection has not sent stays with the session; a stream takes it at once, and says when it is too much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, assert_never

from slaveproto.effects import CloseConnection, OpenConnection
from slaveproto.resume.greeting import read_offer
from slaveproto.resume.policy import ResumePolicy
from slaveproto.scripts import TaskPool
from slaveproto.slave.config import SlaveConfig
from slaveproto.slave.events import LineBack, LineLost

if TYPE_CHECKING:
    from slaveproto.resume.client import ResumingClient

POLICY: Final = ResumePolicy()
"""Patience and bounds of the stream."""


class Line:
    """One line, from its first connection to its end.

    Args:
        config: who the slave is.
        pool: takes the requests for connections.
        secret: 32 bytes of randomness of the session; None to speak plainly.
        number: of this line, which makes its randomness its own.
        jitter: draws a number between 0 and the one that it is given.
    """

    def __init__(
        self,
        config: SlaveConfig,
        pool: TaskPool,
        secret: bytes | None,
        number: int,
        jitter: Callable[[float], float],
    ) -> None:
        self.connection: int | None = None
        """The id of the request that opened the present connection."""
        self.over: str | None = None
        """The reason why the line is over; None while it is not."""
        self.notices: list[LineLost | LineBack] = []
        """Announcements for the session to take."""
        self._config = config
        self._pool = pool
        self._secret = secret
        self._number = number
        self._jitter = jitter
        # Whether the master may still offer a stream, and what it said so far.
        self._undecided = secret is not None
        self._offer = b""
        self._client: ResumingClient | None = None
        self._begun = False
        # The time by which a connection of an open stream has to be there.
        self._dial_due: float | None = None
        self._dial()

    # -- to be looked at

    @property
    def lasts(self) -> bool:
        """Whether it is a stream that outlives its connections."""
        return self._client is not None and self._client.stream.begun

    @property
    def cut(self) -> bool:
        """Whether it is a stream without a connection."""
        return self.lasts and self._client is not None and not self._client.stream.carried

    @property
    def plain(self) -> bool:
        """Whether it is one connection, and no more."""
        return self._client is None and not self._undecided

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
        if self._client is not None:
            self._client.receive(data, now)
            return self._heed(self._client, now)
        return self._read_offer(data, now) if self._undecided else data

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
            client.close(last, why)
            last = client.data_to_send()
        self._hang_up(last)

    # -- inside

    def _read_offer(self, data: bytes, now: float) -> bytes:
        """Find out whether the master offers a stream, and begin one if it does; return what it said plainly."""
        self._offer += data
        offered = read_offer(self._offer)
        if offered is None or self._secret is None:
            return b""
        offer, self._offer, self._undecided = self._offer, b"", False
        if not offered:
            return offer
        from slaveproto.resume.client import ResumingClient
        from slaveproto.resume.proof import derive

        seed = derive(self._secret, b"line", self._number)
        policy = POLICY.impatient(self._config.keepalive, self._config.silence)
        client = self._client = ResumingClient(seed, self._jitter, policy)
        # The connection that it wants is there.
        client.next_event()
        client.connected(now)
        client.receive(offer, now)
        return self._heed(client, now)

    def _dial(self) -> None:
        self.connection = self._pool.request(OpenConnection(self._config.host, self._config.port))

    def _hang_up(self, last: bytes) -> None:
        self._dial_due = None
        if self.connection is not None:
            self._pool.request(CloseConnection(self.connection, last))
            self.connection = None

    def _heed(self, client: ResumingClient, now: float) -> bytes:
        """Take what the stream announces, and return what it brought."""
        from slaveproto.resume import events

        brought = b""
        while (event := client.next_event()) is not None:
            match event:
                case events.DialWanted():
                    self._dial()
                    self._dial_due = now + self._config.connect_timeout
                case events.StreamOpened():
                    pass
                case events.PlainPeer():
                    raise AssertionError("the master has offered a stream")
                case events.HangUpWanted():
                    self._hang_up(client.data_to_send())
                case events.CarrierLost(_, why, unacknowledged):
                    self.notices.append(LineLost(why, unacknowledged))
                case events.CarrierBack(_, _, seconds):
                    self.notices.append(LineBack(seconds))
                case events.Arrived():
                    brought += client.take()
                    if client.stream.peer_ended:
                        self.over = "the master closed the connection"
                case events.StreamOver(_, why):
                    self.over = why or "the master closed the connection"
                case _:
                    assert_never(event)
        return brought
