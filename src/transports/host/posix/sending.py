"""Sending on POSIX: what a socket keeps until the other system has acknowledged it."""

from __future__ import annotations

import os
import socket
import sys
from typing import Final

assert sys.platform != "win32"

SO_NWRITE: Final = 0x1024
"""Option of Darwin, which Python does not name."""


def unacknowledged(descriptor: int) -> int:
    """Return how many bytes of a connection the system keeps; 0 where it does not tell (neither Linux nor macOS)."""
    if sys.platform == "linux":
        # Only a connection that has fallen silent is looked at.
        import fcntl
        import termios

        # SIOCOUTQ is the same number.
        return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    elif sys.platform == "darwin":
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            return sock.getsockopt(socket.SOL_SOCKET, SO_NWRITE)
    else:
        return 0
