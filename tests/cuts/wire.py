"""A wire between two programs that fails on command: a TCP pump in a thread of its own, which looks at its sockets
again and again.

Rules:

* A carrier is one connection through the wire. What was read and not yet written is lost with its carrier, as on a
  real network.
* A frozen carrier is open, and nothing passes. Neither end is told.
* While the wire is `away`, who connects is refused, or is accepted and hears nothing.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Final, Self

from slaveproto.testing.peers import poll

READ: Final = 16384
"""Bytes of one read, and the most that a direction holds."""

BUSY: Final = 0.0005
IDLE: Final = 0.002
"""Seconds between two looks at the sockets."""


class Cut(enum.Enum):
    """Ways to end a carrier: by a reset, or by an orderly end in both directions."""

    RESET = enum.auto()
    END = enum.auto()


class Absence(enum.Enum):
    """What meets new connections while the wire is away."""

    REFUSED = enum.auto()
    SILENT = enum.auto()


class _Direction:
    """Bytes from one socket to another."""

    __slots__ = ("allowance", "data", "destination", "ended", "source")

    def __init__(self, source: socket.socket, destination: socket.socket) -> None:
        self.source, self.destination = source, destination
        self.data = b""
        self.ended = False
        self.allowance = 0.0


class _Carrier:
    """One connection through the wire."""

    __slots__ = ("directions", "frozen", "sockets")

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.sockets = (near, far)
        self.directions = (_Direction(near, far), _Direction(far, near))
        self.frozen = False


class Wire:
    """A TCP pump to a port of 127.0.0.1; a context manager that listens when entered.

    Args:
        target: the port that every connection is brought to.
        rate: bytes a second, each way, of each carrier; None for no limit.
    """

    host = "127.0.0.1"

    def __init__(self, target: int, *, rate: float | None = None) -> None:
        self.target = target
        self.rate = rate
        self.accepted = 0
        """Carriers since the start."""
        self.passed = 0
        """Bytes of all carriers, of both directions."""
        self.cuts = 0
        """Carriers that were cut."""
        self._lock = threading.Lock()
        self._carriers: list[_Carrier] = []
        self._silent: list[socket.socket] = []
        self._away: Absence | None = None
        self._fuse: tuple[int, Cut] | None = None
        self._last = time.monotonic()
        self._over = False
        self._listener: socket.socket | None = None
        with self._listen(0) as listener:
            self.port: int = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)

    def __enter__(self) -> Self:
        self._open()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._over = True
            self._cut_all(Cut.RESET)
            self._shut()
        self._thread.join()

    @property
    def carriers(self) -> int:
        """Number of the present carriers that are not frozen."""
        with self._lock:
            return sum(not carrier.frozen for carrier in self._carriers)

    def cut(self, how: Cut) -> int:
        """Cut every carrier, frozen ones, too; return how many there were."""
        with self._lock:
            return self._cut_all(how)

    def cut_after(self, count: int, how: Cut) -> None:
        """Cut every carrier when exactly `count` more bytes have passed."""
        with self._lock:
            self._fuse = (self.passed + count, how)

    @property
    def armed(self) -> bool:
        """Whether a cut waits for its bytes."""
        with self._lock:
            return self._fuse is not None

    def disarm(self) -> None:
        """Forget the cut that waits for its bytes."""
        with self._lock:
            self._fuse = None

    def freeze(self) -> int:
        """Freeze every present carrier; return how many there were. New ones are not frozen."""
        with self._lock:
            for carrier in self._carriers:
                carrier.frozen = True
            return len(self._carriers)

    def thaw(self) -> None:
        """Let frozen carriers go on."""
        with self._lock:
            for carrier in self._carriers:
                carrier.frozen = False

    def leave(self, absence: Absence) -> None:
        """Be away: nothing passes through present carriers, and new ones meet the absence."""
        with self._lock:
            self._away = absence
            for carrier in self._carriers:
                carrier.frozen = True
            if absence is Absence.REFUSED:
                self._shut()

    def come_back(self) -> None:
        """Carry new connections again; those of the absence are cut."""
        with self._lock:
            self._away = None
            self._cut_all(Cut.RESET)
            if self._listener is None:
                self._open()

    def wait_carrier(self, timeout: float = 60) -> None:
        """Wait until there is a carrier through which bytes can pass."""
        poll(lambda: self.carriers, timeout, "a carrier comes back")

    # -- in the thread, or under the lock

    def _listen(self, port: int) -> socket.socket:
        return socket.create_server((self.host, port), backlog=128)

    def _open(self) -> None:
        self._listener = self._listen(self.port)
        self._listener.setblocking(False)

    def _shut(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _cut_all(self, how: Cut) -> int:
        carriers, self._carriers = self._carriers, []
        # Before any end can see it.
        self.cuts += len(carriers)
        self._fuse = None
        for carrier in carriers:
            for sock in carrier.sockets:
                _close(sock, how)
        for sock in self._silent:
            _close(sock, how)
        self._silent.clear()
        return len(carriers)

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._over:
                    return
                now = time.monotonic()
                passed, self._last = now - self._last, now
                if self._listener is not None:
                    self._accept(self._listener)
                busy = False
                for carrier in list(self._carriers):
                    if not carrier.frozen and carrier in self._carriers:
                        busy |= self._pump(carrier, passed)
            time.sleep(BUSY if busy else IDLE)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            near, _ = listener.accept()
            if self._away is not None:
                self._silent.append(near)
                return
            try:
                far = socket.create_connection((self.host, self.target), 5)
            except OSError:
                _close(near, Cut.RESET)
                return
            for sock in (near, far):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._carriers.append(_Carrier(near, far))
            self.accepted += 1

    def _pump(self, carrier: _Carrier, passed: float) -> bool:
        """Move bytes of a carrier, and do what the fuse says; return whether any byte moved."""
        moved = False
        for direction in carrier.directions:
            try:
                moved |= self._move(direction, passed)
            except OSError:
                self._remove(carrier, Cut.RESET)
                return True
            if self._fuse is not None and self.passed >= self._fuse[0]:
                self._cut_all(self._fuse[1])
                return True
        if all(direction.ended and not direction.data for direction in carrier.directions):
            self._remove(carrier, Cut.END)
        return moved

    def _move(self, direction: _Direction, passed: float) -> bool:
        """Move bytes of one direction; OSError if one of its sockets is broken."""
        if not direction.data and not direction.ended:
            with contextlib.suppress(BlockingIOError):
                direction.data = direction.source.recv(READ)
                direction.ended = not direction.data
                if direction.ended:
                    direction.destination.shutdown(socket.SHUT_WR)
        size = len(direction.data)
        if self.rate is not None:
            # no more than the bytes of a tenth of a second at once
            direction.allowance = min(direction.allowance + self.rate * passed, max(1.0, self.rate / 10))
            size = min(size, int(direction.allowance))
        if self._fuse is not None:
            size = min(size, self._fuse[0] - self.passed)
        if not size:
            return False
        try:
            sent = direction.destination.send(direction.data[:size])
        except BlockingIOError:
            return False
        direction.data = direction.data[sent:]
        direction.allowance -= sent
        self.passed += sent
        return True

    def _remove(self, carrier: _Carrier, how: Cut) -> None:
        self._carriers.remove(carrier)
        for sock in carrier.sockets:
            _close(sock, how)


def _close(sock: socket.socket, how: Cut) -> None:
    """Close a socket. A reset takes with it what the system has not sent."""
    if how is Cut.RESET:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
