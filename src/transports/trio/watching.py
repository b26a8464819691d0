"""Waits for many sockets: a task for each of them would cost more than what most of them bring."""

from __future__ import annotations

import selectors
from selectors import EVENT_READ, EVENT_WRITE
from typing import Final, Protocol

import trio

from transports.host.system import waiting

BATCH: Final = 16
"""Sockets that have their turn before other tasks have theirs."""

_WAYS: Final = ((EVENT_READ, trio.lowlevel.wait_readable), (EVENT_WRITE, trio.lowlevel.wait_writable))


class Watched(Protocol):
    """Whose a socket is."""

    def turn(self, events: int) -> None:
        """The socket is ready, or was a moment ago: meanwhile other events may be looked for."""


class SocketWatcher(Protocol):
    """Gives whoever's socket is ready a turn. Events are those of `selectors`."""

    def watch(self, fd: int, before: int, events: int, whose: Watched) -> None:
        """Look for other events of a socket than `before`; for none before it is closed."""

    def close(self) -> None:
        """Watch nothing any more, once the nursery has ended."""


def open_watcher(nursery: trio.Nursery) -> SocketWatcher:
    """Return what watches on this system. What somebody raises in his turn ends the nursery."""
    common = waiting.common_selector()
    return Apart(nursery) if common is None else Together(*common, nursery)


class Together:
    """All sockets in one selector, which is waited for as one thing.

    Args:
        selector: a new one.
        descriptor: can be read as long as a socket is ready.
        nursery: where the task that waits belongs.
    """

    def __init__(self, selector: selectors.BaseSelector, descriptor: int, nursery: trio.Nursery) -> None:
        self._selector = selector
        nursery.start_soon(self._run, descriptor)

    def watch(self, fd: int, before: int, events: int, whose: Watched) -> None:
        """See `SocketWatcher`."""
        if not before:
            self._selector.register(fd, events, whose)
        elif events:
            self._selector.modify(fd, events, whose)
        else:
            # As long as it is registered the end of a connection is told again and again, whatever is looked for.
            self._selector.unregister(fd)

    def close(self) -> None:
        """See `SocketWatcher`."""
        self._selector.close()

    async def _run(self, descriptor: int) -> None:
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            for number, (key, events) in enumerate(self._selector.select(0), 1):
                key.data.turn(events)
                if number % BATCH == 0:
                    await trio.lowlevel.checkpoint()


class Apart:
    """Each socket in tasks of its own.

    Args:
        nursery: where they belong.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scopes: dict[tuple[int, int], trio.CancelScope] = {}

    def watch(self, fd: int, before: int, events: int, whose: Watched) -> None:
        """See `SocketWatcher`."""
        for event, _ in _WAYS:
            if events & event and not before & event:
                scope = self._scopes[fd, event] = trio.CancelScope()
                self._nursery.start_soon(self._run, scope, fd, event, whose)
            elif before & event and not events & event:
                # It stops to wait at once, so the socket may be closed.
                self._scopes.pop((fd, event)).cancel()

    def close(self) -> None:
        """See `SocketWatcher`."""

    async def _run(self, scope: trio.CancelScope, fd: int, event: int, whose: Watched) -> None:
        wait = dict(_WAYS)[event]
        with scope:
            while not scope.cancel_called:
                await wait(fd)
                whose.turn(event)
