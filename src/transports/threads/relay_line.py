"""One connection of a relay. What can be read is read at once, what is to be written is given to the kernel at once."""

from __future__ import annotations

import contextlib
import socket
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Final

from slaveproto.inputs import Disconnected, Received
from slaveproto.relay.events import HalfClosed, RelayInput
from transports.host import sockets
from transports.host.sockets import words_of

if TYPE_CHECKING:
    from transports.threads.relay import RelayRunner

SMALL: Final = 16 * 1024
"""Bytes that are read at once of a connection that says little."""

LARGE: Final = 1024 * 1024
"""Bytes that are read at once of a connection that says much."""


class RelayLine:
    """One connection.

    Args:
        number: of the connection.
        sock: which becomes ours, and does not block.
        runner: that it belongs to.
    """

    # A relay has thousands.
    __slots__ = (
        "_able", "_awaited", "_block", "_paused", "_reading", "_runner", "_shut", "_sock", "_unsent", "closing",
        "number", "progressed",
    )  # fmt: skip

    def __init__(self, number: int, sock: socket.socket, runner: RelayRunner) -> None:
        self.number = number
        self.closing = False
        """Whether it is over, or will be with its last bytes."""
        self.progressed = False
        """Whether bytes went out since this was set to False."""
        self._sock = sock
        self._runner = runner
        self._able = True
        self._reading = True
        self._paused = False
        self._shut = False
        self._block = SMALL
        self._unsent: bytes | memoryview = b""
        self._awaited = 0
        self._watch()

    # -- what is asked of it

    @property
    def idle(self) -> bool:
        """Whether there may be another batch."""
        return self._able and not self._unsent

    @property
    def over(self) -> bool:
        """Whether it is closed and all is out."""
        return self._sock.fileno() < 0

    def send(self, data: bytes) -> None:
        """Take a batch; only if `idle`."""
        self._unsent = data
        self._write()
        self._watch()

    def pause(self, paused: bool) -> None:
        """Leave it unread, or read it again."""
        if paused != self._paused:
            self._paused = paused
            self._watch()

    def shut(self) -> None:
        """Say nothing more, once all is out."""
        self._shut = True
        if self.idle:
            self._say_end()

    def close(self, last: bytes) -> None:
        """Read nothing more, and end it after `last`."""
        self.closing = True
        self._reading = False
        if self._able:
            self._unsent = bytes(self._unsent) + last if self._unsent else last
            if self._unsent:
                self._write()
        if self._unsent:
            self._watch()
        else:
            self.hang_up()

    def hang_up(self) -> None:
        """End it at once."""
        self.closing = True
        self._able = self._reading = False
        self._unsent = b""
        if not self.over:
            self._watch()
            self._farewell()
            self._sock.close()

    # -- what happens

    def _tend(self, ready: int) -> RelayInput | None:
        if ready & EVENT_WRITE and self._unsent:
            self._write_on()
        if ready & EVENT_READ and self._reading and not self._paused:
            return self._read()
        return None

    def _write_on(self) -> None:
        self._write()
        if not self._unsent:
            if self.closing:
                self.hang_up()
                return
            if self._shut:
                self._say_end()
            elif self._able:
                self._runner.more(self)
        self._watch()

    def _write(self) -> None:
        unsent = self._unsent
        try:
            sent = self._put(unsent)
            self._unsent = memoryview(unsent)[sent:] if sent < len(unsent) else b""
            self.progressed = True
        except OSError:
            # The reader meets the reason.
            self._able = False
            self._unsent = b""

    def _say_end(self) -> None:
        self._able = False
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)

    def _read(self) -> RelayInput | None:
        try:
            data = self._take()
        except OSError as error:
            return self._end(words_of(error))
        if data is None:
            self._watch()
            return None
        if not data:
            self._reading = False
            self._watch()
            return HalfClosed(self.number)
        # The answer comes from far away, if any comes.
        sockets.acknowledge(self._sock)
        size = len(data)
        if size == self._block:
            self._block = LARGE
        elif size < SMALL:
            self._block = SMALL
        return Received(self.number, data)

    def _end(self, why: str) -> RelayInput:
        self._runner.forget(self)
        self.hang_up()
        return Disconnected(self.number, why)

    def _put(self, data: bytes | memoryview) -> int:
        """Give data to the kernel, and return how many bytes of it were taken."""
        return sockets.put(self._sock, data)

    def _take(self) -> bytes | None:
        """Return what there is, empty for the end, None if it is nothing yet."""
        return sockets.take(self._sock, self._block)

    def _farewell(self) -> None:
        """Say what is said before a connection is closed."""

    # -- what is looked for

    def _wanted(self) -> int:
        return (EVENT_READ if self._reading and not self._paused else 0) | (EVENT_WRITE if self._unsent else 0)

    def _watch(self) -> None:
        if self.over:
            return
        wanted, awaited = self._wanted(), self._awaited
        if wanted == awaited:
            return
        selector = self._runner.selector
        if not wanted:
            selector.unregister(self._sock)
        elif not awaited:
            selector.register(self._sock, wanted, self._tend)
        else:
            selector.modify(self._sock, wanted, self._tend)
        self._awaited = wanted
