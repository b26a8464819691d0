"""Row 4, what attaching costs on either side: our slave with real masters, our master with real slaves.

Every pair is connected through a relay. The relay hangs up, the slave comes again: CPU time of both processes from then
until the slave says that it is attached, and a little longer. So nothing of the start of a program is in it, but the
end of the last connection is.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import attrs

from benchmarks.figures import Figure, Options, in_turns, times_less
from benchmarks.link import SlowLink
from benchmarks.machine import cpu_seconds
from benchmarks.pairs import (
    NEW_MASTER,
    NEW_SLAVE,
    OLD_MASTER,
    OLD_SLAVE,
    OUR_MASTER,
    OUR_SLAVE,
    PASSWORD,
    make_slave,
    our_master,
    wait_idle,
)
from slaveproto.testing.peers import Kind, OurMaster, RealMaster, SlaveProgram

KINDS: Final[dict[str, Kind]] = {NEW_MASTER: "new", OLD_MASTER: "old"}
SLAVES: Final = {NEW_MASTER: NEW_SLAVE, OLD_MASTER: OLD_SLAVE}
"""Masters, and the slaves of their own generation."""

SETTLED: Final = 1.0
"""Seconds after which nothing goes on any more that has to do with attaching."""


@attrs.frozen
class Cost:
    """CPU time in milliseconds."""

    slave: float
    master: float


@attrs.frozen
class Pair:
    """A master and one of its slaves."""

    master: RealMaster | OurMaster
    link: SlowLink
    slave: SlaveProgram

    def attach(self, settled: float) -> Cost:
        """Cut the connection, and see what it costs until `settled` seconds after there is another one."""
        before, times = self._used(), self.slave.attachments
        self.link.cut()
        self.slave.wait_attached(times + 1)
        time.sleep(settled)
        after = self._used()
        return Cost((after[0] - before[0]) * 1000, (after[1] - before[1]) * 1000)

    def _used(self) -> tuple[float, float]:
        return cpu_seconds(self.slave.pid), cpu_seconds(self.master.pid)


def rows(options: Options) -> Iterator[Figure]:
    """Row 4."""
    masters = [NEW_MASTER] if options.smoke else list(KINDS)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        programs: dict[str, RealMaster | OurMaster] = {
            name: RealMaster(KINDS[name], folder / KINDS[name], ["hello"], slaves={"own": PASSWORD, "our": PASSWORD})
            for name in masters
        }
        programs[OUR_MASTER] = our_master(folder / "ours", list(KINDS.values()), "hello", ["true"])
        for program in programs.values():
            stack.enter_context(program)

        def pair(master: str, slave: str, name: str) -> Pair:
            link = stack.enter_context(SlowLink(programs[master], 0.0))
            made = make_slave(slave, folder / f"{KINDS.get(master, 'ours')}-{name}", link, name)
            stack.enter_context(made).wait_attached()
            return Pair(programs[master], link, made)

        pairs = {}
        for master in masters:
            pairs[master, SLAVES[master]] = pair(master, SLAVES[master], "own")
            pairs[master, OUR_SLAVE] = pair(master, OUR_SLAVE, "our")
            pairs[OUR_MASTER, SLAVES[master]] = pair(OUR_MASTER, SLAVES[master], KINDS[master])
        wait_idle([one.pid for two in pairs.values() for one in (two.master, two.slave)])
        settled = 0.1 if options.smoke else SETTLED
        turns = {" ".join(who): partial(it.attach, settled) for who, it in pairs.items()}
        found = in_turns(options.warm_ups + options.runs, turns)
        costs = {who: found[" ".join(who)][options.warm_ups :] for who in pairs}
    for master in masters:
        own = SLAVES[master]
        slaves = {slave: [cost.slave for cost in costs[master, slave]] for slave in (OUR_SLAVE, own)}
        yield Figure(4, f"attach to a {master}: slave", "CPU ms", slaves, [times_less(own, 5, who=OUR_SLAVE)])
        both = {name: [cost.master for cost in costs[name, own]] for name in (OUR_MASTER, master)}
        yield Figure(4, f"attach of a {own}: master", "CPU ms", both, [times_less(master, 5, who=OUR_MASTER)])
