"""Rules about byte streams that every runner keeps: reading and writing without blocking, how much is read at once, how
long last bytes have, error texts.

Imports nothing that is big, since the start of a slave does not wait for TLS.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    import ssl

LINGER = 5.0
"""Seconds that the last bytes of a connection have to get out."""

BLOCK = 64 * 1024
"""Bytes that are read at once."""


def put(sock: socket.socket, data: bytes | memoryview) -> int:
    """Give data to the kernel, and return how many bytes of it were taken; raises OSError."""
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0


def take(sock: socket.socket, most: int = BLOCK) -> bytes | None:
    """Return what there is, empty for the end, None if it is nothing yet; raises OSError."""
    try:
        return sock.recv(most)
    except BlockingIOError:
        return None


_QUICK_ACK: Final = getattr(socket, "TCP_QUICKACK", None)
"""Linux's option for acknowledging at once; it wears off by itself."""


def acknowledge(sock: socket.socket) -> None:
    """Have the kernel acknowledge at once what was read, where it can.

    A Twisted slave holds back its second small message, and the end of a large one, until what it sent before is
    acknowledged; the usual delay would cost 40 ms for every command, and for every block of an upload.
    """
    if _QUICK_ACK is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)


def words_of(error: BaseException) -> str:
    """Return the operating system's reason for an error, in one line.

    Of a group or a chain of errors it is the first cause, for runners add addresses and the like. Errors of TLS have
    words of their own: `transports.host.tls_words`.
    """
    while True:
        cause = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
        if cause is None:
            break
        error = cause
    if type(error).__module__ == "ssl":
        from transports.host.tls_words import words_of_tls

        return words_of_tls(cast("ssl.SSLError", error))
    # Errors of name servers are OSErrors, too, with numbers of their own.
    if isinstance(error, OSError) and type(error).__module__ == "builtins" and error.errno:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)
