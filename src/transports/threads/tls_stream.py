"""A stream with TLS, whose hands are shaken.

Imported with the first connection that has TLS, for `ssl` is big.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import ssl

from slaveproto.slave.events import Input
from transports.host.tls_traffic import TlsTraffic
from transports.threads.stream import Stream


class TlsStream(Stream):
    """A connection with TLS."""

    _sock: ssl.SSLSocket

    def __init__(self, sock: socket.socket, number: int, selector: selectors.BaseSelector) -> None:
        super().__init__(sock, number, selector)
        self._traffic = TlsTraffic(self._sock)

    def _wanted(self) -> int:
        return self._traffic.take_waits_for | (self._traffic.put_waits_for if self._left else 0)

    def _tend(self, ready: int) -> Input | None:
        if self._left:
            self._write()
        return self._read()

    def _read(self) -> Input | None:
        item = super()._read()
        if self._awaited:
            self._wait_for(self._wanted())
        return item

    def _put(self, data: memoryview) -> int:
        return self._traffic.put(data)

    def _take(self) -> bytes | None:
        try:
            return self._traffic.take()
        except ssl.SSLEOFError as error:
            # A peer that hangs up without the farewell of TLS hangs up. If OpenSSL has no reason, the kernel had one,
            # which Python drops.
            if error.reason is None:
                raise ConnectionResetError(errno.ECONNRESET, "") from None
            return b""

    def _hang_up(self) -> None:
        # The farewell of TLS, whose answer is not waited for.
        with contextlib.suppress(OSError, ValueError):
            self._sock.setblocking(False)
            self._sock.unwrap()
        super()._hang_up()
