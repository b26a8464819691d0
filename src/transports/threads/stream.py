"""A stream of bytes over an open connection, for the thread that waits at the inbox."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time

from slaveproto.inputs import Disconnected, Received
from slaveproto.slave.events import Input
from transports.host import sockets
from transports.host.sockets import words_of
from transports.host.system import sending


class Stream:
    """An open connection. What it does never blocks."""

    def __init__(self, sock: socket.socket, number: int, selector: selectors.BaseSelector) -> None:
        self._sock = sock
        self._number = number
        self._selector = selector
        self._awaited = 0
        self._left = memoryview(b"")
        self._why = ""

    @property
    def idle(self) -> bool:
        """Whether everything is sent."""
        return not self._left

    @property
    def unacknowledged(self) -> int:
        """Bytes that were taken and that the master's system has not acknowledged."""
        return 0 if self._sock.fileno() < 0 else len(self._left) + sending.unacknowledged(self._sock.fileno())

    def begin(self) -> None:
        """Begin to read."""
        self._wait_for(selectors.EVENT_READ)

    def send(self, data: bytes) -> None:
        """Take a batch; only if `idle`."""
        self._left = memoryview(data)
        self._write()

    def end(self, last: bytes) -> threading.Thread | None:
        """Close, after `last` and what is before it; returns the thread that sends it, if there is anything to send."""
        self._wait_for(0)
        words = bytes(self._left) + last
        if not words:
            self._hang_up()
            return None
        thread = threading.Thread(target=self._say_last, args=(words,), name="last words", daemon=True)
        thread.start()
        return thread

    def _wait_for(self, events: int) -> None:
        if not events and self._awaited:
            self._selector.unregister(self._sock)
        elif events and not self._awaited:
            self._selector.register(self._sock, events, self._tend)
        elif events != self._awaited:
            self._selector.modify(self._sock, events, self._tend)
        self._awaited = events

    def _wanted(self) -> int:
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._left else 0)

    def _tend(self, ready: int) -> Input | None:
        if ready & selectors.EVENT_WRITE:
            self._write()
        return self._read() if ready & selectors.EVENT_READ else None

    def _write(self) -> None:
        try:
            self._left = self._left[self._put(self._left) :]
        except OSError as error:
            # What arrived before is still there to be read, and after it the end.
            self._why = words_of(error)
            self._left = memoryview(b"")
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_WR)
        self._wait_for(self._wanted())

    def _read(self) -> Input | None:
        try:
            data = self._take()
        except OSError as error:
            self._why = words_of(error)
            data = b""
        if data is None:
            return None
        if data:
            return Received(self._number, data)
        self._wait_for(0)
        self._left = memoryview(b"")
        self._hang_up()
        return Disconnected(self._number, self._why)

    def _put(self, data: memoryview) -> int:
        """Give data to the kernel, and return how many bytes of it were taken."""
        return sockets.put(self._sock, data)

    def _take(self) -> bytes | None:
        """Return what there is, empty for the end, None if it is nothing yet."""
        return sockets.take(self._sock)

    def _say_last(self, words: bytes) -> None:
        # For all of it, not for each piece.
        until = time.monotonic() + sockets.LINGER
        with contextlib.suppress(OSError):
            unsent = memoryview(words)
            while unsent and (left := until - time.monotonic()) > 0:
                self._sock.settimeout(left)
                unsent = unsent[self._sock.send(unsent) :]
        self._hang_up()

    def _hang_up(self) -> None:
        self._sock.close()
