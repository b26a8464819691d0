"""A master, a slave, and the chain between them, of which one wire can be cut.

    slave ... [relay --via] ... wire ... [relay --to] ... master

Our slave and our master resume streams by themselves; before any other slave and any other master stands a relay.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import attrs

from slaveproto.testing.peers import Kind, OurSlave, RealMaster, RealSlave, Runner, SlaveProgram, poll
from slaveproto.testing.peers.processes import Program, free_port, read_log
from tests.cuts.sites import CUT, DIRECT, OurSite, RealSite, Site, real_master
from tests.cuts.wire import Wire

RATE: Final = 1_500_000
"""Bytes a second on a wire, so that cuts meet transfers."""

MasterKind: TypeAlias = Kind | Literal["ours"]
SlaveOf: TypeAlias = Kind | Runner


@attrs.frozen
class Pair:
    """A master and a slave, and the relays between them."""

    master: MasterKind
    slave: SlaveOf
    near: bool = False
    """Whether a relay stands before the slave."""
    far: bool = False
    """Whether a relay stands before the master."""
    mend: bool = False
    """Whether that relay mends, for slave and master are of two generations. So does one on the direct link then."""

    @property
    def name(self) -> str:
        """Words for a table."""
        slave = f"our slave ({self.slave})" if self.slave in get_args(Runner) else f"slave {VERSIONS[self.slave]}"
        master = f"master {VERSIONS[self.master]}" if self.master != "ours" else "slaveproto master"
        far = ["relay --mend" if self.mend else "relay"] * self.far
        return " - ".join([slave, *["relay"] * self.near, "wire", *far, master])


VERSIONS: Final[Mapping[str, str]] = {"old": "0.8.4", "new": "4.3.0"}

PAIRS: Final[Mapping[str, Pair]] = {
    "old": Pair("old", "old", near=True, far=True),
    "new": Pair("new", "new", near=True, far=True),
    "threads-old": Pair("old", "threads", far=True),
    "trio-new": Pair("new", "trio", far=True),
    "old-ours": Pair("ours", "old", near=True),
    "new-ours": Pair("ours", "new", near=True),
    "threads-ours": Pair("ours", "threads"),
    "trio-ours": Pair("ours", "trio"),
    "mend-new": Pair("new", "old", near=True, far=True, mend=True),
    "mend-old": Pair("old", "new", near=True, far=True, mend=True),
    "mend-new-threads": Pair("new", "threads", far=True, mend=True),
    "bare": Pair("old", "old"),
}
"""What can be run; `bare` shows that a cut does harm where nothing resumes."""


class ChainRelay(Program):
    """``slaveproto relay``; a context manager that listens when entered.

    Args:
        directory: its working directory, to be made.
        way: ``--to`` or ``--via``.
        target: the port of 127.0.0.1 that it connects to.
        options: further options.
    """

    host = "127.0.0.1"

    def __init__(
        self, directory: Path, way: Literal["--to", "--via"], target: int, options: Sequence[str] = ()
    ) -> None:
        super().__init__(directory)
        directory.mkdir()
        self.port = free_port()
        self._words = [f"--listen={self.host}:{self.port}", way, f"{self.host}:{target}", *options]

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "slaveproto", "relay", *self._words]

    def log(self) -> str:
        return read_log(self.directory / "stdio.log")

    def start(self) -> None:
        """Start the relay, and wait until it listens."""
        before = len(self.log())
        super().start()

        def listens() -> bool:
            if not self.running:
                raise RuntimeError(f"the relay did not start:\n{self.log()[before:][-3000:]}")
            return "listening" in self.log()[before:]

        poll(listens, 20, "the relay listens")


@attrs.frozen
class Place:
    """Where a slave logs in, instead of at its master."""

    port: int
    slaves: Mapping[str, str]
    host: str = "127.0.0.1"


@attrs.frozen
class Chain:
    """A pair that runs: the master with its build, the wire, the slave, and the relays."""

    site: Site
    wire: Wire
    slave: SlaveProgram
    relays: Sequence[ChainRelay]


@contextlib.contextmanager
def direct(pair: Pair, folder: Path, master: RealMaster | None) -> Iterator[Site]:
    """Run the slave of a pair at its master, with nothing between them."""
    with ExitStack() as stack:
        site = _site(stack, master, folder, DIRECT)
        port = site.port
        if pair.mend:
            port = stack.enter_context(ChainRelay(folder / "direct", "--to", port, ["--mend"])).port
        stack.enter_context(_slave(pair, folder / DIRECT, Place(port, site.slaves), DIRECT))
        if master is not None:
            master.wait_attached(DIRECT)
        yield site


@contextlib.contextmanager
def chain(pair: Pair, folder: Path, master: RealMaster | None, options: Sequence[str] = ()) -> Iterator[Chain]:
    """Run a pair with its relays, which get the options, and its wire."""
    with ExitStack() as stack:
        site = _site(stack, master, folder, CUT)
        port, relays = site.port, []
        if pair.far:
            mend = ["--mend"] if pair.mend else []
            relays.append(stack.enter_context(ChainRelay(folder / "far", "--to", port, [*options, *mend])))
            port = relays[-1].port
        wire = stack.enter_context(Wire(port, rate=RATE))
        port = wire.port
        if pair.near:
            relays.append(stack.enter_context(ChainRelay(folder / "near", "--via", port, options)))
            port = relays[-1].port
        slave = stack.enter_context(_slave(pair, folder / CUT, Place(port, site.slaves), CUT))
        if master is not None:
            master.wait_attached(CUT)
        yield Chain(site, wire, slave, relays)


@contextlib.contextmanager
def master_of(pair: Pair, folder: Path) -> Iterator[RealMaster | None]:
    """Run the real master of a pair; none is needed for ours, which comes and goes with each build."""
    if pair.master == "ours":
        yield None
    else:
        with real_master(pair.master, folder / "master") as master:
            yield master


def _site(stack: ExitStack, master: RealMaster | None, folder: Path, slave: str) -> Site:
    if master is not None:
        return RealSite(master, slave)
    site = OurSite(folder / f"master-of-{slave}", slave)
    stack.callback(site.close)
    return site


def _slave(pair: Pair, folder: Path, place: Place, name: str) -> SlaveProgram:
    if pair.slave == "old" or pair.slave == "new":
        return RealSlave(folder, place, name, kind=pair.slave)
    return OurSlave(folder, place, name, runner=pair.slave)
