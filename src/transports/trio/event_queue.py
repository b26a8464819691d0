"""Announcements that wait for their reader."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import trio

T = TypeVar("T")

MOST = 10_000
"""Announcements that may wait."""

MOST_TEXT = 16_000_000
"""Characters that they may have together, as `repr` shows them."""


class EventQueue(Generic[T]):
    """Keeps the newest announcements for a reader that takes its time; of the oldest only their number is kept.

    Announcing never waits, and what waits here is bounded.
    """

    def __init__(self) -> None:
        self._items: deque[tuple[T, int]] = deque()
        self._text = 0
        self._lost = 0
        self._over = False
        self._readers = trio.lowlevel.ParkingLot()

    def put(self, item: T) -> None:
        """Announce."""
        size = len(repr(item))
        self._items.append((item, size))
        self._text += size
        while len(self._items) > MOST or (self._text > MOST_TEXT and len(self._items) > 1):
            self._text -= self._items.popleft()[1]
            self._lost += 1
        self._readers.unpark()

    def end(self) -> None:
        """End the queue: the reader gets what waits, and then the end."""
        self._over = True
        self._readers.unpark_all()

    async def take(self) -> T | int | None:
        """Wait for the next announcement. A number tells how many were lost before it; None is the end."""
        await trio.lowlevel.checkpoint()
        while not self._items:
            if self._over:
                return None
            await self._readers.park()
        if self._lost:
            lost, self._lost = self._lost, 0
            return lost
        item, size = self._items.popleft()
        self._text -= size
        return item
