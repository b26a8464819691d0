"""A link between slaves and their master that delays what it carries, and that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from slaveproto.testing.peers import Attachable

PIECE: Final = 256 * 1024
"""Bytes that are read from a socket at a time."""

CAPACITY: Final = 64 * 1024 * 1024
"""Bytes that a direction of the link holds before it reads no more."""


class DelayLine:
    """Bytes under way in one direction: each piece comes out some time after it went in, however many are under way.

    Args:
        delay: seconds.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._changed = threading.Condition()

    def put(self, data: bytes) -> None:
        """Put a piece in; blocks while the line is full."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < CAPACITY)
            self._pieces.append((time.monotonic() + self._delay, data))
            self._size += len(data)
            self._changed.notify_all()

    def get(self) -> bytes:
        """Wait for the next piece and take it out."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces)
            due, data = self._pieces.popleft()
        time.sleep(max(0.0, due - time.monotonic()))
        with self._changed:
            self._size -= len(data)
            self._changed.notify_all()
        return data


class Stopwatch:
    """When a word was seen in a stream.

    Args:
        word: what to look for.
    """

    def __init__(self, word: bytes) -> None:
        self._word = word
        self._tail = b""
        self.first = self.last = 0.0

    def reset(self) -> None:
        """Forget what was seen."""
        self.first = self.last = 0.0

    def look(self, data: bytes) -> None:
        """Look at the next bytes of the stream."""
        if self._word in self._tail + data:
            self.last = time.monotonic()
            self.first = self.first or self.last
        self._tail = (self._tail + data)[1 - len(self._word) :]


class SlowLink:
    """A place where slaves log in, and are connected to a master far away; a context manager.

    Args:
        master: it.
        rtt: seconds that a question and its answer are under way.
    """

    host = "127.0.0.1"

    def __init__(self, master: Attachable, rtt: float) -> None:
        self.slaves = master.slaves
        self._master = master
        self._delay = rtt / 2
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.started = Stopwatch(b"startCommand")
        self.completed = Stopwatch(b"complete")
        self._ends: list[socket.socket] = []

    def __enter__(self) -> SlowLink:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def seconds(self) -> float:
        """How long the last command took, at the master's end."""
        return self.completed.last - self.started.last

    @property
    def span(self) -> float:
        """How long all commands took since `reset`, with what was between them, at the master's end."""
        return self.completed.last - self.started.first

    def reset(self) -> None:
        """Begin a new `span`."""
        self.started.reset()
        self.completed.reset()

    def cut(self) -> None:
        """Hang up on both sides; a new connection is relayed again."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        # Until the listener is closed.
        with contextlib.suppress(OSError):
            while True:
                slave, _ = self._listener.accept()
                master = socket.create_connection((self._master.host, self._master.port))
                for end in (slave, master):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._ends.append(end)
                self._join(slave, master, lambda data: None, self.completed.look)
                self._join(master, slave, self.started.look, lambda data: None)

    def _join(
        self,
        source: socket.socket,
        target: socket.socket,
        came: Callable[[bytes], None],
        left: Callable[[bytes], None],
    ) -> None:
        line = DelayLine(self._delay)

        def read() -> None:
            data = b"."
            while data:
                try:
                    data = source.recv(PIECE)
                except OSError:
                    data = b""
                came(data)
                line.put(data)

        def write() -> None:
            # The first side to hang up ends both.
            with contextlib.suppress(OSError):
                while data := line.get():
                    left(data)
                    target.sendall(data)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)

        for work in (read, write):
            threading.Thread(target=work, daemon=True).start()
