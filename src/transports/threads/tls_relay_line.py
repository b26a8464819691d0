"""A connection of a relay with TLS. Imported with the first one, for `ssl` is big."""

from __future__ import annotations

import contextlib
import socket
import ssl
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING

from slaveproto.relay.events import Agreed, RelayInput
from transports.host.sockets import words_of
from transports.host.tls import names_of
from transports.host.tls_traffic import TlsTraffic
from transports.threads.relay_line import RelayLine

if TYPE_CHECKING:
    from transports.threads.relay import RelayRunner


class TlsRelayLine(RelayLine):
    """A connection with TLS. To read, TLS may have to write, and the reverse.

    Args:
        number: of the connection.
        sock: which becomes ours, and does not block.
        runner: that it belongs to.
        shaken: whether hands are shaken already; else that is what it begins with.
    """

    __slots__ = ("_shaken", "_traffic")

    _sock: ssl.SSLSocket

    def __init__(self, number: int, sock: socket.socket, runner: RelayRunner, *, shaken: bool) -> None:
        self._shaken = shaken
        assert isinstance(sock, ssl.SSLSocket)
        self._traffic = TlsTraffic(sock)
        super().__init__(number, sock, runner)

    def _tend(self, ready: int) -> RelayInput | None:
        if not self._shaken:
            return self._shake_hands()
        return super()._tend(EVENT_READ | EVENT_WRITE)

    def _shake_hands(self) -> RelayInput | None:
        try:
            self._shaken = self._traffic.shake_hands()
        except OSError as error:
            return self._end(f"TLS: {words_of(error)}")
        self._watch()
        return Agreed(self.number, names_of(self._sock)) if self._shaken else None

    def _put(self, data: bytes | memoryview) -> int:
        return self._traffic.put(data)

    def _take(self) -> bytes | None:
        try:
            return self._traffic.take()
        except ssl.SSLEOFError:
            # A peer that hangs up without the farewell of TLS hangs up.
            return b""

    def _farewell(self) -> None:
        if self._shaken:
            with contextlib.suppress(OSError, ValueError):
                self._sock.unwrap()

    def _wanted(self) -> int:
        reading = self._traffic.take_waits_for if self._reading and not self._paused else 0
        return reading | (self._traffic.put_waits_for if self._unsent else 0)
