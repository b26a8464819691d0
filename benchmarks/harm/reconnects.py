"""A master that goes away and comes back, and a thousand slaves: promise 6.

In virtual time: ours are a thousand `SlaveSession`s, each with a jitter as `transports.host.describe` has it; of
Buildbot's slaves it is a model, since a thousand processes do not fit.

    python -m benchmarks.harm.reconnects

draws docs/reconnects.svg.
"""

from __future__ import annotations

import random
import statistics
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import count, takewhile
from math import e
from pathlib import Path
from typing import Final

from benchmarks.harm.rows import Row, Side
from slaveproto.slave.backoff import LASTING
from slaveproto.testing import SessionDriver

SLAVES: Final = 1000
OUTAGES: Final = (0.1, 3.0, 10.0, 30.0, 120.0)
LONGEST: Final = 1000.0
"""Seconds of a simulation."""
TARGET: Final = Path(__file__).parents[2] / "docs" / "reconnects.svg"


def ours(rng: random.Random) -> Iterator[float]:
    """Yield the times of the attempts of one slave session after the loss of its master."""
    driver = SessionDriver(jitter=lambda most: rng.uniform(0.0, most))
    driver.start().attach_as_4x((("linux", "linux"),))
    driver.advance(LASTING)
    driver.reachable = False
    driver.lose_connection("Connection reset by peer")
    lost = driver.now
    while True:
        assert driver.session.deadline is not None
        yield driver.session.deadline - lost
        driver.advance(driver.session.deadline - driver.now)


def new(rng: random.Random) -> Iterator[float]:
    """Yield the attempts of a worker 4.3.0: `ClientService` of Twisted with its default policy (read in its code)."""
    now = 0.0
    for number in count(1):
        now += min(1.5**number, 60.0) + rng.random()
        yield now


def old(rng: random.Random) -> Iterator[float]:
    """Yield those of a slave 0.8.4: `ReconnectingClientFactory` of Twisted 11.1, with its `maxDelay` of 300 s."""
    now, delay = 0.0, 1.0
    while True:
        delay = min(delay * e, 300.0)
        delay = rng.normalvariate(delay, delay * 0.11962656472)
        now += delay
        yield now


POLICIES: Final[dict[Side, Callable[[random.Random], Iterator[float]]]] = {
    Side.OURS: ours,
    Side.NEW: new,
    Side.OLD: old,
}


@cache
def _attempts(side: Side, seed: int) -> Sequence[Sequence[float]]:
    """Return the attempts of each slave while the master is away; they do not depend on how long that is."""
    rng = random.Random(seed)
    return [list(takewhile(lambda t: t < LONGEST, POLICIES[side](rng))) for _ in range(SLAVES)]


def back(side: Side, outage: float, seed: int = 1) -> list[float]:
    """Return how many seconds after the end of an outage each slave is back, sorted."""
    return sorted(attempts[bisect_left(attempts, outage)] - outage for attempts in _attempts(side, seed))


def worst_second(times: Sequence[float]) -> int:
    """Return how many of the sorted times lie in one second, wherever it begins."""
    return max(bisect_left(times, begin + 1.0) - place for place, begin in enumerate(times))


def _row(outage: float, side: Side, folder: Path) -> str:
    times = back(side, outage)
    worst = worst_second(times) / len(times)
    median, last = statistics.median(times), times[-1]
    how = "" if side is Side.OURS else " (model)"
    return f"{worst:.1%} in the worst second; back after {median:.1f} s (median), {last:.0f} s (last){how}"


def draw() -> None:
    """Draw the slaves that come back in each second after outages."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "slaveproto"})
    import matplotlib.pyplot as plt

    drawing, places = plt.subplots(len(OUTAGES), 1, figsize=(8, 9), sharex=True)
    colours = {Side.OURS: "#0b6e99", Side.NEW: "#c2571a", Side.OLD: "#777777"}
    for axes, outage in zip(places, OUTAGES, strict=True):
        for side, colour in colours.items():
            times = back(side, outage)
            seconds = range(61)
            shares = [100 * (bisect_left(times, t + 1) - bisect_left(times, t)) / len(times) for t in seconds]
            axes.step(seconds, shares, where="post", color=colour, label=side.value)
        axes.axhline(5, color="#222222", linewidth=0.8, linestyle=":")
        axes.set(yscale="log", ylim=(0.1, 110), ylabel="% in a second")
        axes.set_title(f"after {outage:g} s without a master", fontsize=9)
    places[-1].set(xlabel="seconds after the master is back", xlim=(0, 60))
    places[0].legend(frameon=False)
    drawing.tight_layout()
    drawing.savefig(TARGET, metadata={"Date": None})


ROWS: Final[Sequence[Row]] = tuple(
    Row(6, f"{SLAVES:,} slaves lose their master for {outage:g} s", partial(_row, outage)) for outage in OUTAGES
)


if __name__ == "__main__":
    draw()
    sys.exit(0)
