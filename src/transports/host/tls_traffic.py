"""Bytes over a socket with TLS that does not block. To read, TLS may have to write, and the reverse.

A runner asks after each call what the socket is to be watched for: `put_waits_for` while there is something to write,
`take_waits_for` while it reads.
"""

from __future__ import annotations

import socket
import ssl
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from transports.host import sockets


def wrap(context: ssl.SSLContext, sock: socket.socket, **options: Any) -> ssl.SSLSocket:
    """Return a socket with TLS in the place of a connected one; options as of `SSLContext.wrap_socket`.

    Raises:
        OSError: the connection was over already.
    """
    # Python before 3.12 loses a socket that was reset while it wraps it.
    sock.getpeername()
    return context.wrap_socket(sock, **options)


class TlsTraffic:
    """The reading and the writing of one socket.

    Args:
        sock: does not block.
    """

    __slots__ = ("_sock", "put_waits_for", "take_waits_for")

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self.put_waits_for = EVENT_WRITE
        """The event that the next `put` has to wait for."""
        self.take_waits_for = EVENT_READ
        """The same for `take`."""

    def shake_hands(self) -> bool:
        """Go on with the handshake, and return whether it is done; raises OSError."""
        self.take_waits_for = EVENT_READ
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self.take_waits_for = EVENT_WRITE
            return False
        return True

    def put(self, data: bytes | memoryview) -> int:
        """Return how many bytes were taken, 0 if it is none yet; raises OSError."""
        self.put_waits_for = EVENT_WRITE
        try:
            return self._sock.send(data)
        except ssl.SSLWantWriteError:
            return 0
        except ssl.SSLWantReadError:
            self.put_waits_for = EVENT_READ
            return 0

    def take(self) -> bytes | None:
        """Return what there is, None if it is nothing yet; raises OSError."""
        self.take_waits_for = EVENT_READ
        try:
            data = self._sock.recv(sockets.BLOCK)
            # What is decrypted already makes no socket ready.
            while self._sock.pending():
                data += self._sock.recv(sockets.BLOCK)
            return data
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self.take_waits_for = EVENT_WRITE
            return None
