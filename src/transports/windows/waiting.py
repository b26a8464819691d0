"""What a thread may wait for, and how another one ends that.

Here only the closing of a socket wakes a thread that waits for it, which the end of one direction does not.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import Final

LONGEST_WAIT: Final = 1.0
"""Seconds that the main thread may wait in one piece and still hear signals: while it waits it hears none."""


def stop_reading(sock: socket.socket, patience: float) -> None:
    """Make a thread that reads the socket see its end soon, at the latest after `patience` seconds.

    It may see it only then: what is still to be written must not be lost.
    """
    closer = threading.Timer(patience, hang_up, (sock,))
    closer.daemon = True
    closer.start()


def end_writing(sock: socket.socket) -> None:
    """Tell the peer that no more will come. A thread that reads the socket sees its end when the peer hangs up."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def hang_up(sock: socket.socket) -> None:
    """End whatever threads do with the socket."""
    with contextlib.suppress(OSError):
        sock.close()


def common_selector() -> tuple[selectors.BaseSelector, int] | None:
    """Return None: sockets can be waited for together, but not that along with anything else."""
    return None
