"""Named absolute deadlines. Nothing here runs: somebody asks which of them have passed."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Timers(Generic[K]):
    """A dictionary of deadlines, in seconds of whatever clock the caller uses."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}

    def set(self, key: K, when: float) -> None:
        """Set or move the deadline of `key` to the time `when`."""
        self._due[key] = when

    def __contains__(self, key: K) -> bool:
        """Whether `key` has a deadline."""
        return key in self._due

    def cancel(self, key: K) -> None:
        """Forget `key`; it need not be set."""
        self._due.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._due.clear()

    @property
    def deadline(self) -> float | None:
        """The earliest deadline, None if there is none."""
        return min(self._due.values(), default=None)

    def pop_expired(self, now: float) -> list[K]:
        """Remove and return the keys whose time has come, earliest first."""
        due = sorted((when, n, key) for n, (key, when) in enumerate(self._due.items()) if when <= now)
        for _, _, key in due:
            del self._due[key]
        return [key for _, _, key in due]
