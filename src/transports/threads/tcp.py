"""One TCP connection: a thread opens it, then the thread that waits at the inbox reads and writes it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

from slaveproto.inputs import Disconnected, Received
from slaveproto.slave.events import Connected, Input
from slaveproto.slave.session import SlaveSession
from transports.host import sockets
from transports.host.sockets import words_of
from transports.host.system import sending
from transports.threads.inbox import Inbox
from transports.threads.workers import Workers


class TcpLink:
    """Opens a connection and keeps it until it ends, or is closed. For the thread that waits at the inbox.

    Args:
        number: names the connection in what is reported.
        host: to connect to.
        port: to connect to.
        inbox: takes what is reported.
        workers: one of them connects, which may take long.
    """

    def __init__(self, number: int, host: str, port: int, inbox: Inbox, workers: Workers) -> None:
        self._number = number
        self._inbox = inbox
        self._stream: _Stream | None = None
        self._closed = False
        # It may be closed at the very moment when it is open.
        self._changing = threading.Lock()
        self._last_words: threading.Thread | None = None
        workers.start(lambda: self._open(host, port))

    def send_from(self, session: SlaveSession) -> None:
        """Take the session's data if all data before it is sent."""
        if self._stream is not None and self._stream.idle:
            data = session.data_to_send()
            if data:
                self._stream.send(data)

    @property
    def unacknowledged(self) -> int:
        """Bytes that were taken and that the master's system has not acknowledged."""
        return 0 if self._stream is None else self._stream.unacknowledged

    def close(self, last: bytes) -> None:
        """Send `last` and close; nothing more is reported. Only the first call counts."""
        with self._changing:
            self._closed = True
            stream, self._stream = self._stream, None
        if stream is not None:
            self._last_words = stream.end(last)

    def join(self, timeout: float) -> None:
        """Wait until the last bytes are out or given up."""
        if self._last_words is not None:
            self._last_words.join(timeout)

    def _open(self, host: str, port: int) -> None:
        try:
            sock = socket.create_connection((host, port))
        except (OSError, UnicodeError) as error:
            with self._changing:
                if not self._closed:
                    self._inbox.put(Disconnected(self._number, words_of(error)))
            return
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setblocking(False)
        with self._changing:
            if self._closed:
                sock.close()
            else:
                self._stream = _Stream(sock, self._number, self._inbox.selector)
                self._inbox.put(Connected(self._number), self._begin)

    def _begin(self) -> None:
        # Not before the session hears of the connection: it would not know whose data it is.
        if self._stream is not None:
            self._stream.begin()


class _Stream:
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
            self._sock.close()
            return None
        thread = threading.Thread(target=_say_last, args=(self._sock, words), name="last words", daemon=True)
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

    def _tend(self, ready: int) -> Input | None:
        if ready & selectors.EVENT_WRITE:
            self._write()
        return self._read() if ready & selectors.EVENT_READ else None

    def _write(self) -> None:
        try:
            self._left = self._left[self._sock.send(self._left) :]
        except BlockingIOError:
            pass
        except OSError as error:
            # What arrived before is still there to be read, and after it the end.
            self._why = words_of(error)
            self._left = memoryview(b"")
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        self._wait_for(selectors.EVENT_READ | (selectors.EVENT_WRITE if self._left else 0))

    def _read(self) -> Input | None:
        try:
            data = self._sock.recv(sockets.BLOCK)
        except BlockingIOError:
            return None
        except OSError as error:
            self._why = words_of(error)
            data = b""
        if data:
            return Received(self._number, data)
        self._wait_for(0)
        self._left = memoryview(b"")
        self._sock.close()
        return Disconnected(self._number, self._why)


def _say_last(sock: socket.socket, words: bytes) -> None:
    with sock, contextlib.suppress(OSError):
        # For all of it, not for each piece.
        sock.settimeout(sockets.LINGER)
        sock.sendall(words)
