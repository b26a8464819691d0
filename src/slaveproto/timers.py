"""Named absolute deadlines. Nothing runs here: the owner asks which of them have passed."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SPARE: Final = 16
"""Dead entries that a heap may always hold."""


class Timers(Generic[K]):
    """A dictionary of deadlines, in seconds of the caller's clock. A master has thousands."""

    def __init__(self) -> None:
        self._due: dict[K, tuple[float, int, K]] = {}
        # Entries that are not in the dictionary any more are dead, and dropped when they come up.
        self._heap: list[tuple[float, int, K]] = []
        self._last = 0

    def set(self, key: K, when: float) -> None:
        """Set or move the deadline of `key` to the time `when`."""
        self._last += 1
        entry = self._due[key] = (when, self._last, key)
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._due) + _SPARE:
            self._heap = list(self._due.values())
            heapify(self._heap)

    def __contains__(self, key: K) -> bool:
        """Whether `key` has a deadline."""
        return key in self._due

    def __len__(self) -> int:
        """Return the number of keys that have a deadline."""
        return len(self._due)

    def cancel(self, key: K) -> None:
        """Forget `key`; it need not be set."""
        self._due.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._due.clear()
        self._heap.clear()

    @property
    def deadline(self) -> float | None:
        """The earliest deadline, None if there is none."""
        heap = self._heap
        while heap and self._due.get(heap[0][2]) is not heap[0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def pop_expired(self, now: float) -> list[K]:
        """Remove and return the keys whose time has come, earliest first, of equal ones the one set first."""
        expired: list[K] = []
        if not self._heap or self._heap[0][0] > now:
            return expired
        while (when := self.deadline) is not None and when <= now:
            key = heappop(self._heap)[2]
            del self._due[key]
            expired.append(key)
        return expired
