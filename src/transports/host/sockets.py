"""Rules about byte streams that every runner keeps: reading and writing without blocking, how much is read at once, how
long last bytes have, error texts.

Imports nothing that is big, since the start of a slave does not wait for TLS.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import socket
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
