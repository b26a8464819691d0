"""A link that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class Cutter:
    """A pump between two relays.

    Args:
        to: the port of 127.0.0.1 that it leads to.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self._ends: list[socket.socket] = []
        self._all: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._serve)

    def __enter__(self) -> Cutter:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._all):
            end.close()

    def cut(self) -> None:
        ends, self._ends = self._ends, []
        self.cuts += bool(ends)
        for end in ends:
            _shut(end)

    def _start(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                self._all.append(one)
                other = socket.create_connection(("127.0.0.1", self._to))
                self._all.append(other)
                self._ends += [one, other]
                self._start(self._pump, one, other)
                self._start(self._pump, other, one)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        for end in (one, other):
            _shut(end)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
