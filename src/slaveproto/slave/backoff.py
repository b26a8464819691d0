"""The delays between attempts to connect.

Source: `ReconnectingClientFactory` of Twisted, as `bot.py` of buildslave 0.8.4 uses it; REFUSED_DELAY is our own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_DELAY: Final = 1.0
"""Seconds before the second attempt."""

FACTOR: Final = 2.7182818284590451
"""Growth of the delay from one attempt to the next."""

REFUSED_DELAY: Final = 10.0
"""Seconds, at least, before the next attempt after a refused login."""


class Backoff:
    """Growing delays between attempts. The factor is that of buildslave; the jitter is the caller's.

    Args:
        max_delay: most seconds between two attempts, jitter included.
        jitter: makes the real delay out of the nominal one.
    """

    def __init__(self, max_delay: float, jitter: Callable[[float], float]) -> None:
        self._max_delay = max_delay
        self._jitter = jitter
        self.failures = 0
        self._nominal = FIRST_DELAY

    def reset(self) -> None:
        """Start anew, because an attempt succeeded."""
        self.failures = 0
        self._nominal = FIRST_DELAY

    def failed(self, *, refused: bool, counts: bool) -> float:
        """Count a failure, if it `counts`, and return the seconds to wait; after a refused login they are more."""
        self.failures += counts
        nominal = max(self._nominal, REFUSED_DELAY) if refused else self._nominal
        self._nominal = min(nominal * FACTOR, self._max_delay)
        return max(0.0, min(self._jitter(nominal), self._max_delay))
