"""Row 8: a build of 20 trivial steps over a link with a delay, and over one without.

Wall time is that from the first `startCommand` that leaves the master until the last `complete` that reaches it. What
the delay adds to it, per step and per round trip, is how many round trips a step takes.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.figures import OURS, Comparison, Figure, Options, in_turns, times_less
from benchmarks.link import SlowLink
from benchmarks.pairs import NEW_SLAVE, OUR_SLAVE, PASSWORD, make_slave, our_master, trigger
from slaveproto.testing.peers import OurMaster, RealBuilder, RealMaster

PAIR: Final = "4.3.0 pair"
STEPS: Final = 20
"""As many as `trivial` in the peers' catalogue has."""

RTT: Final = 0.05
DELAYS: Final = {"near": 0.0, "far": RTT}
"""Slaves, and the seconds between a question to them and its answer."""

PATIENCE: Final = 60.0


def rows(options: Options) -> Iterator[Figure]:
    """Row 8."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        builders = [RealBuilder(f"trivial-{name}", "trivial", (name,)) for name in DELAYS]
        real = RealMaster("new", folder / "new", builders, slaves=dict.fromkeys(DELAYS, PASSWORD), tell_logs=False)
        ours = our_master(folder / "ours", list(DELAYS), "trivial", ["true"] * STEPS)
        stack.enter_context(real)
        stack.enter_context(ours)
        contestants: dict[str, Callable[[], float]] = {}
        for name, rtt in DELAYS.items():
            builder = f"trivial-{name}"
            for who, kind, master in ((OURS, OUR_SLAVE, ours), (PAIR, NEW_SLAVE, real)):
                link = stack.enter_context(SlowLink(master, rtt))
                slave = make_slave(kind, folder / f"{master.directory.name}-{name}", link, name)
                stack.enter_context(slave).wait_attached()
                build = partial(_our_build, ours, builder) if who == OURS else partial(_real_build, real, builder)
                contestants[f"{who} {name}"] = partial(_span, link, build)
        turns = in_turns(options.warm_ups + options.runs, contestants)
        found = {who: spans[options.warm_ups :] for who, spans in turns.items()}
    for name, what in (("near", "no delay"), ("far", f"{RTT * 1000:g} ms round trip")):
        runs = {who: found[f"{who} {name}"] for who in (OURS, PAIR)}
        yield Figure(8, f"{STEPS} trivial steps, {what}: wall time", "s", runs, [times_less(PAIR)])
    # Not of the other pair: its own time, most of it the database's, differs by more than that from run to run.
    near, far = found[f"{OURS} near"], found[f"{OURS} far"]
    trips = {OURS: [(slow - fast) / STEPS / RTT for fast, slow in zip(near, far, strict=True)]}
    yield Figure(8, "what the delay adds", "round trips per step", trips, [Comparison(OURS, None, most=1.1)])


def _span(link: SlowLink, build: Callable[[], None]) -> float:
    link.reset()
    build()
    return link.span


def _our_build(master: OurMaster, builder: str) -> None:
    trigger(master, builder, "--wait")


def _real_build(master: RealMaster, builder: str) -> None:
    result = master.build(builder, PATIENCE)
    assert result.result == "success", result
    # It makes a step of looking at the worker, too.
    assert sum(step.name.startswith("shell") for step in result.steps) == STEPS
