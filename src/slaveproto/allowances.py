"""Allowances: what may happen some times at once, and so many times a second in the long run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MOST_KEYS: Final = 10_000
"""Keys that are remembered; of more, those that were spent on longest ago are forgotten, and have all again."""


class Allowances(Generic[K]):
    """Counts that grow back, one for each key.

    Args:
        burst: how often it may happen at once.
        rate: how much of that grows back in a second.
    """

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        # What was left, and when.
        self._spent: OrderedDict[K, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of keys that are remembered."""
        return len(self._spent)

    def left(self, key: K, now: float) -> bool:
        """Whether it may happen once more, at the time `now`, in seconds of a clock that never goes back."""
        return self._amount(key, now) >= 1

    def spend(self, key: K, now: float) -> bool:
        """Count that it happened, or was asked for; returns whether it was allowed. What was not costs nothing."""
        amount = self._amount(key, now)
        if amount < 1:
            return False
        self._spent[key] = amount - 1, now
        self._spent.move_to_end(key)
        if len(self._spent) > MOST_KEYS:
            self._spent.popitem(last=False)
        return True

    def _amount(self, key: K, now: float) -> float:
        amount, when = self._spent.get(key, (float(self._burst), now))
        return min(float(self._burst), amount + (now - when) * self._rate)
