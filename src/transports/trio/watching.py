"""Watchers of many sockets. A task for each socket would cost more than what most sockets bring."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE
from typing import Final, Generic, TypeAlias, TypeVar

import trio

from transports.host.system import waiting

BATCH: Final = 16
"""Sockets that have their turn before other tasks have theirs."""

_WAYS: Final = ((EVENT_READ, trio.lowlevel.wait_readable), (EVENT_WRITE, trio.lowlevel.wait_writable))


T = TypeVar("T")


class Together(Generic[T]):
    """All sockets in one selector, which is waited for as one thing.

    Args:
        selector: a new one.
        descriptor: can be read as long as a socket is ready.
        nursery: where the task that waits belongs.
        turn: as for `open_watcher`.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        descriptor: int,
        nursery: trio.Nursery,
        turn: Callable[[T, int], None],
    ) -> None:
        self._selector = selector
        self._turn = turn
        nursery.start_soon(self._run, descriptor)

    def watch(self, fd: int, before: int, events: int, owner: T) -> None:
        """Look for other events of a socket than `before`; for none before it is closed."""
        if not before:
            self._selector.register(fd, events, owner)
        elif events:
            self._selector.modify(fd, events, owner)
        else:
            # As long as it is registered the end of a connection is told again and again, whatever is looked for.
            self._selector.unregister(fd)

    def close(self) -> None:
        """Watch nothing any more, once the nursery has ended."""
        self._selector.close()

    async def _run(self, descriptor: int) -> None:
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            for number, (key, events) in enumerate(self._selector.select(0), 1):
                self._turn(key.data, events)
                if number % BATCH == 0:
                    await trio.lowlevel.checkpoint()


class Apart(Generic[T]):
    """Each socket in tasks of its own.

    Args:
        nursery: where they belong.
        turn: as for `open_watcher`.
    """

    def __init__(self, nursery: trio.Nursery, turn: Callable[[T, int], None]) -> None:
        self._nursery = nursery
        self._turn = turn
        self._scopes: dict[tuple[int, int], trio.CancelScope] = {}

    def watch(self, fd: int, before: int, events: int, owner: T) -> None:
        """Look for other events of a socket than `before`; for none before it is closed."""
        for event, _ in _WAYS:
            if events & event and not before & event:
                scope = self._scopes[fd, event] = trio.CancelScope()
                self._nursery.start_soon(self._run, scope, fd, event, owner)
            elif before & event and not events & event:
                # It stops to wait at once, so the socket may be closed.
                self._scopes.pop((fd, event)).cancel()

    def close(self) -> None:
        """Watch nothing any more, once the nursery has ended."""

    async def _run(self, scope: trio.CancelScope, fd: int, event: int, owner: T) -> None:
        wait = dict(_WAYS)[event]
        with scope:
            while not scope.cancel_called:
                await wait(fd)
                self._turn(owner, event)


SocketWatcher: TypeAlias = Together[T] | Apart[T]
"""Gives each socket that is ready, or was a moment ago, a turn. Events are those of `selectors`."""


def open_watcher(nursery: trio.Nursery, turn: Callable[[T, int], None]) -> SocketWatcher[T]:
    """Return the watcher for this system.

    Args:
        nursery: where its tasks belong; what `turn` raises ends it.
        turn: is called with the owner of a socket and its events. Meanwhile the owner may look for other events.
    """
    common = waiting.common_selector()
    return Apart(nursery, turn) if common is None else Together(*common, nursery, turn)
