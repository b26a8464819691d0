"""The queue in which inputs from other threads arrive, and the selector that is waited for beside it."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """A queue of inputs, and a selector that it wakes. Only `put` may be called by more than one thread.

    The data of a file that is registered at the `selector` is a function: it is called with the events that are ready,
    and returns an input, or None.
    """

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._items: SimpleQueue[tuple[Item, Callable[[], None] | None]] = SimpleQueue()
        self._asleep = False
        # Sockets, for these can be closed under another thread that is about to use them.
        self._wake_read, self._wake_write = socket.socketpair()
        for wake in (self._wake_read, self._wake_write):
            wake.setblocking(False)
        self.selector.register(self._wake_read, selectors.EVENT_READ, self._take_wakes)

    @contextlib.contextmanager
    def awake_to_signals(self) -> Iterator[None]:
        """While this lasts, a signal ends the wait of the main thread, so that its handler runs at once.

        Otherwise one that comes right before the system begins to wait is heard of after that only.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old = signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old)

    def put(self, item: Item, then: Callable[[], None] | None = None) -> None:
        """Add an input. Safe from any thread and from signal handlers. `then` is called when it is taken out."""
        self._items.put((item, then))
        if self._asleep:
            # If it takes no more it is about to be read; if it is closed nothing waits any more.
            with contextlib.suppress(OSError):
                self._wake_write.send(b"\0")

    def take(self, patience: float | None) -> Sequence[Item]:
        """Wait for inputs, at most `patience` seconds, and return some: of each source one, so that none starves."""
        # In this order: a thread that puts an input in after the look at the queue sees that we sleep.
        self._asleep = True
        ready = self.selector.select(patience if self._items.empty() else 0)
        self._asleep = False
        found = [item for key, events in ready if (item := key.data(events)) is not None]
        with contextlib.suppress(Empty):
            item, then = self._items.get_nowait()
            if then is not None:
                then()
            found.append(item)
        return found

    def close(self) -> None:
        """Wait for nothing any more."""
        for end in (self.selector, self._wake_read, self._wake_write):
            end.close()

    def _take_wakes(self, events: int) -> None:
        self._wake_read.recv(4096)
