"""A stream with TLS, whose hands are shaken. To read, TLS may have to write, and the reverse.

Imported with the first connection that has TLS, for `ssl` is big.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import ssl

from slaveproto.slave.events import Input
from transports.host import sockets
from transports.threads.stream import Stream


class TlsStream(Stream):
    """A connection with TLS."""

    _sock: ssl.SSLSocket

    def __init__(self, sock: socket.socket, number: int, selector: selectors.BaseSelector) -> None:
        super().__init__(sock, number, selector)
        self._put_waits_for = selectors.EVENT_WRITE
        self._take_waits_for = selectors.EVENT_READ

    def _wanted(self) -> int:
        return self._take_waits_for | (self._put_waits_for if self._left else 0)

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
        self._put_waits_for = selectors.EVENT_WRITE
        try:
            return self._sock.send(data)
        except ssl.SSLWantWriteError:
            return 0
        except ssl.SSLWantReadError:
            self._put_waits_for = selectors.EVENT_READ
            return 0

    def _take(self) -> bytes | None:
        self._take_waits_for = selectors.EVENT_READ
        try:
            data = self._sock.recv(sockets.BLOCK)
            # What is decrypted already makes no socket ready.
            while self._sock.pending():
                data += self._sock.recv(sockets.BLOCK)
            return data
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self._take_waits_for = selectors.EVENT_WRITE
            return None
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
