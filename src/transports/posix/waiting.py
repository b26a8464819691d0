"""What a thread may wait for, and how another one ends that."""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import sys
from typing import Final

assert sys.platform != "win32"

LONGEST_WAIT: Final = math.inf
"""Seconds that the main thread may wait in one piece and still hear signals."""


def stop_reading(sock: socket.socket, patience: float) -> None:
    """Make a thread that reads the socket see its end soon, at the latest after `patience` seconds."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RD)


def end_writing(sock: socket.socket) -> None:
    """Tell the peer that no more will come. A thread that reads the socket should see its end."""
    hang_up(sock)


def hang_up(sock: socket.socket) -> None:
    """End whatever threads do with the socket."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def common_selector() -> tuple[selectors.BaseSelector, int] | None:
    """Return a new selector, and the descriptor that can be read as long as one of its sockets is ready."""
    selector = selectors.DefaultSelector()
    return selector, selector.fileno()
