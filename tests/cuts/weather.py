"""Random harm to a wire, the same for the same seed: cuts after some bytes or seconds, stalls and absences."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from slaveproto.testing.peers import poll
from tests.cuts.wire import Absence, Cut, Wire

BYTES: Final = (1.0, 5.5)
"""Powers of ten of the bytes that pass before a cut."""

SECONDS: Final = (0.02, 1.0)
STILL: Final = (0.1, 1.0)
AWAY: Final = (0.2, 2.0)
"""Seconds before a cut, of a stall that ends in one, and of an absence."""

BACK: Final = 60.0
"""Seconds within which a carrier has to come back."""


class Weather:
    """Harm to one wire, as long as a build runs.

    Args:
        wire: the wire.
        seed: the choices follow from it.
        over: whether there is no more build to harm.
    """

    def __init__(self, wire: Wire, seed: int, over: Callable[[], bool]) -> None:
        self._wire = wire
        self._chance = random.Random(seed)
        self._over = over

    def strike(self) -> None:
        """Wait for a carrier, and cut it at a random moment; TimeoutError if none comes.

        Ends early if the build ends.
        """
        chance, wire = self._chance, self._wire
        poll(lambda: wire.carriers or self._over(), BACK, "a carrier comes back")
        if self._over():
            return
        how = chance.choice((Cut.RESET, Cut.END))
        if (kind := chance.random()) < 0.5:
            wire.cut_after(int(10 ** chance.uniform(*BYTES)), how)
            end = time.monotonic() + 2
            while wire.armed and time.monotonic() < end and not self._over():
                time.sleep(0.005)
            wire.disarm()
            return
        time.sleep(chance.uniform(*SECONDS))
        if kind < 0.75:
            wire.cut(how)
        elif kind < 0.9:
            wire.freeze()
            time.sleep(chance.uniform(*STILL))
            wire.cut(how)
        else:
            wire.leave(chance.choice(tuple(Absence)))
            time.sleep(chance.uniform(*AWAY))
            wire.come_back()
