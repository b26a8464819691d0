"""One pair with a build that is repeated, and the harm that is done to its wire meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import attrs

from slaveproto.testing.peers import poll
from tests.cuts.pairs import RATE, Chain, ChainRelay, Pair, chain, direct, master_of
from tests.cuts.sites import Facts, Site, differences
from tests.cuts.weather import Weather
from tests.cuts.wire import Absence

BUILD: Final = 240.0
"""Seconds within which a build has to end when the harm is over."""

SLOW: Final = 8000
"""Bytes a second of a link of 64 kbit/s."""

EARLY: Final = 2.5
"""Seconds from the request of a build until its first output is under way."""


@attrs.frozen
class Row:
    """What came of some harm to a pair."""

    pair: str
    harm: str
    cuts: int
    builds: int
    lost: int
    """Builds that lost their slave."""
    different: Sequence[str]
    """Places where a build differs from that without cuts, in words."""
    seconds: float

    def __str__(self) -> str:
        return (
            f"| {self.pair} | {self.harm} | {self.cuts} | {self.builds} | {self.lost} | {len(self.different)} "
            f"| {self.seconds:.0f} |"
        )


HEAD: Final = "| Pair | Harm | Cuts | Builds | Lost | Differences | Seconds |\n|---|---|---|---|---|---|---|"


class Trial:
    """A running pair, and its build without cuts, which is built beside the first one with cuts.

    Args:
        pair: the pair.
        chain: the pair with its wire.
        direct: its master, with a slave that nothing is cut for.
    """

    def __init__(self, pair: Pair, chain: Chain, direct: Site) -> None:
        self.chain = chain
        self._pair = pair
        self._direct = direct
        self._whole: Facts | None = None
        direct.start_build()

    def storm(self, seed: int, cuts: int) -> Row:
        """Cut the wire at random moments of as many builds as it takes."""
        site, wire = self.chain.site, self.chain.wire
        weather = Weather(wire, seed, site.finished)

        def harm() -> None:
            if wire.cuts < last:
                weather.strike()

        last = wire.cuts + cuts
        return self._row(f"random cuts, seed {seed}", harm, lambda: wire.cuts < last)

    def outage(self, seconds: float, absence: Absence) -> Row:
        """Take the wire away in the middle of a build. If the relays' patience is shorter, that costs the build."""

        def harm() -> None:
            time.sleep(EARLY)
            self.chain.wire.leave(absence)
            time.sleep(seconds)
            self.chain.wire.come_back()

        return self._row(f"{seconds:.0f} s away, new connections {absence.name.lower()}", _once(harm))

    def frozen(self, within: float) -> tuple[Row, float]:
        """Freeze the carrier in the middle of a build; return the seconds until there is another, too."""
        wire, taken = self.chain.wire, 0.0

        def harm() -> None:
            nonlocal taken
            time.sleep(EARLY)
            before, start = wire.accepted, time.monotonic()
            wire.freeze()
            poll(lambda: wire.accepted > before, within, "a frozen carrier is noticed")
            taken = time.monotonic() - start

        return self._row("carrier frozen", _once(harm)), taken

    def killed(self, relay: ChainRelay, within: float) -> tuple[Row, float]:
        """Kill a relay in the middle of a build, and start it again; return the seconds until the master knows, too."""
        taken = 0.0

        def harm() -> None:
            nonlocal taken
            time.sleep(EARLY)
            lost, start = self.chain.site.lost(), time.monotonic()
            relay.kill()
            relay.start()
            poll(lambda: self.chain.site.lost() > lost, within, "the master knows that the build is lost")
            taken = time.monotonic() - start

        return self._row(f"relay {relay.directory.name} killed", _once(harm)), taken

    def slow(self, seconds: float) -> Row:
        """Make the link slow in the middle of a build."""
        wire, before = self.chain.wire, 0

        def harm() -> None:
            nonlocal before
            time.sleep(EARLY)
            # Our master comes anew with each build, and the slave with it.
            before = wire.accepted
            wire.rate = SLOW
            time.sleep(seconds)
            wire.rate = RATE

        row = self._row(f"64 kbit/s for {seconds:.0f} s", _once(harm))
        return attrs.evolve(row, cuts=wire.accepted - before)

    def _row(self, name: str, harm: Callable[[], None], more: Callable[[], bool] = lambda: False) -> Row:
        """Build at least once, and as long as there is `more` to do; call `harm` again and again meanwhile."""
        site, wire = self.chain.site, self.chain.wire
        builds, different, start = 0, list[str](), time.monotonic()
        cuts, lost = wire.cuts, site.lost()
        while not builds or more():
            site.start_build()
            calm = time.monotonic()
            while not site.finished():
                before = time.monotonic()
                harm()
                time.sleep(0.02)
                if (now := time.monotonic()) > before + 0.1:
                    calm = now
                if now > calm + BUILD:
                    raise TimeoutError(f"not within {BUILD} s: the build ends")
            different += differences(self._facts(), site.take())
            builds += 1
        return Row(
            self._pair.name,
            name,
            wire.cuts - cuts,
            builds,
            site.lost() - lost,
            different,
            time.monotonic() - start,
        )

    def _facts(self) -> Facts:
        """Return the facts of the build without cuts."""
        if self._whole is None:
            poll(self._direct.finished, BUILD, "the build without cuts ends")
            self._whole = self._direct.take()
        return self._whole


def _once(harm: Callable[[], None]) -> Callable[[], None]:
    """Return what does the harm the first time only."""
    left = [harm]
    return lambda: left.pop()() if left else None


@contextlib.contextmanager
def trial(pair: Pair, folder: Path, options: Sequence[str] = ()) -> Iterator[Trial]:
    """Run a pair, with a wire and at a direct link; its relays get the options."""
    with ExitStack() as stack:
        master = stack.enter_context(master_of(pair, folder))
        site = stack.enter_context(direct(pair, folder, master))
        yield Trial(pair, stack.enter_context(chain(pair, folder, master, options)), site)
