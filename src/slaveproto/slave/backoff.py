"""The moments of new attempts to connect.

Rules.

* Time after the loss of a link is cut into rounds that grow, and a slave tries once in each round, at a place of its
  own that is drawn once for each loss. So a thousand slaves that lost one master come evenly over each round, and each
  of them waits at most the length of a round.
* The first round is short, for links that break and masters that start again are mostly back at once. It is left out
  after a loss that was noticed late: then the trouble is older than that round is long.
* What did not last begins no new row of rounds.

Source: none, this is our own. Twisted's `ReconnectingClientFactory`, as `bot.py` of buildslave 0.8.4 uses it, has all
slaves come at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_ROUND: Final = 3.0
"""Seconds in which slaves try for the first time."""

SECOND_ROUND: Final = 36.0
"""Seconds in which they try for the second time: of a thousand, 28 in each."""

FACTOR: Final = 1.5
"""Growth from the second round on."""

REFUSED_DELAY: Final = 60.0
"""Seconds, at least, before the next attempt after a refused login, unless the longest delay is less."""

LASTING: Final = 10.0
"""Seconds after which a link that was attached has lasted, so that its loss begins anew."""


class Backoff:
    """Delays between attempts.

    Args:
        max_delay: most seconds of a round, and thus between two attempts.
        jitter: draws a number between 0 and the one that it is given, each as likely as any other.
    """

    def __init__(self, max_delay: float, jitter: Callable[[float], float]) -> None:
        self._max_delay = max_delay
        self._jitter = jitter
        self.failures = 0
        """Failed attempts since the last login."""
        self.begin()

    def begin(self, *, late: bool = False) -> None:
        """Begin a row of rounds; `late`, with the second one."""
        self._round = SECOND_ROUND if late else FIRST_ROUND
        self._place = self._jitter(1.0)
        self._rest = 0.0

    def failed(self, *, refused: bool, counts: bool) -> float:
        """Count a failure, if it `counts`, and return the seconds to wait; after a refused login they are more."""
        self.failures += counts
        length = min(self._round, self._max_delay)
        delay = self._rest + self._place * length
        self._rest = (1.0 - self._place) * length
        self._round = SECOND_ROUND if self._round < SECOND_ROUND else min(self._round * FACTOR, self._max_delay)
        if refused:
            delay = max(delay, REFUSED_DELAY * (1.0 + self._place))
        return max(0.0, min(delay, self._max_delay))
