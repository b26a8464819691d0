"""One TCP connection: a thread that connects, reads and closes, and one that writes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue

from slaveproto.inputs import Disconnected, Received, Wakeup
from slaveproto.slave.events import Connected, Input
from slaveproto.slave.session import SlaveSession
from transports.system import waiting

LINGER = 5.0
"""Seconds that the last bytes of a connection have to get out."""

BLOCK = 64 * 1024


class Link:
    """Opens a connection and keeps it until it ends, or is closed.

    Args:
        number: names the connection in what is reported.
        host: to connect to.
        port: to connect to.
        post: takes what is reported.
        put_data: takes what was received; may block, and then nothing is read meanwhile.
        close_data: makes `put_data` let go.
    """

    def __init__(
        self,
        number: int,
        host: str,
        port: int,
        *,
        post: Callable[[Input], None],
        put_data: Callable[[Received], None],
        close_data: Callable[[], None],
    ) -> None:
        self._number = number
        self._address = (host, port)
        self._post = post
        self._put_data = put_data
        self._close_data = close_data
        self._closing = threading.Event()
        self._writer: _Writer | None = None
        self._thread = threading.Thread(target=self._run, name=f"link {number}", daemon=True)
        self._thread.start()

    def send_from(self, session: SlaveSession) -> None:
        """Take the session's data if all data before it is sent."""
        if self._writer is not None and self._writer.idle:
            data = session.data_to_send()
            if data:
                self._writer.send(data)

    def close(self, last: bytes) -> None:
        """Send `last` and close; nothing more is reported. Only the first call counts."""
        if not self._closing.is_set():
            self._closing.set()
            self._close_data()
            if self._writer is not None:
                self._writer.finish(last)

    def join(self, timeout: float) -> None:
        """Wait until the connection is closed, if there is one."""
        if self._writer is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            sock = socket.create_connection(self._address)
        except (OSError, UnicodeError) as error:
            self._report(Disconnected(self._number, _words_of(error)))
            return
        with sock:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._writer = _Writer(sock, self._post)
            self._report(Connected(self._number))
            if self._closing.is_set():
                self._writer.finish(b"")
            why = ""
            try:
                # A peer that never pauses would otherwise be read for ever: what is shut down still delivers.
                while (data := sock.recv(BLOCK)) and not self._closing.is_set():
                    self._put_data(Received(self._number, data))
            except OSError as error:
                why = _words_of(error)
            self._report(Disconnected(self._number, why))
            self._writer.end(LINGER if self._closing.is_set() else 0.0)

    def _report(self, item: Input) -> None:
        if not self._closing.is_set():
            self._post(item)


class _Writer:
    """Writes to one socket, one batch at a time."""

    def __init__(self, sock: socket.socket, post: Callable[[Input], None]) -> None:
        self._sock = sock
        self._post = post
        self._batches: SimpleQueue[bytes | None] = SimpleQueue()
        self.idle = True
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Take a batch; only if `idle`."""
        self.idle = False
        self._batches.put(data)

    def finish(self, last: bytes) -> None:
        """Take the last batch, and make the reader see the end."""
        self._batches.put(last)
        self._batches.put(None)
        waiting.stop_reading(self._sock, LINGER)

    def end(self, patience: float) -> None:
        """Return when nothing is written any more; what is not out after `patience` seconds is lost."""
        self._batches.put(None)
        self._thread.join(patience)
        waiting.hang_up(self._sock)
        self._thread.join()

    def _run(self) -> None:
        # Whoever reads the socket reports its end.
        with contextlib.suppress(OSError):
            while (data := self._batches.get()) is not None:
                self._sock.sendall(data)
                self.idle = True
                self._post(Wakeup())
        waiting.end_writing(self._sock)


def _words_of(error: OSError | UnicodeError) -> str:
    return getattr(error, "strerror", None) or str(error)
