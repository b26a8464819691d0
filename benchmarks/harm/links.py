"""Links that die, stand still or are slow: promise 1.

Each row is done to twenty links at once where it is done to ours: to a master of ours with slaves of ours and of both
Buildbots, or to masters of ours and of both Buildbots with slaves of ours. A Buildbot has a slave of its own kind.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

from benchmarks.harm.rows import Row, Side
from slaveproto.testing.peers import (
    Attachable,
    Kind,
    OurMaster,
    OurSlave,
    RealBuilder,
    RealMaster,
    RealSlave,
    SlaveKind,
    SlaveProgram,
    poll,
)

State: TypeAlias = Literal["idle", "in a silent build", "in a chatty build"]

FREEZE: Final = 50.0
"""Seconds for which a peer stands still and is not to be dropped."""

PROMISED: Final = 60.0
"""Seconds in which ours notice that a peer is dead."""

PATIENCE: Final = 120.0
"""Seconds after which a peer that was not noticed to be dead is called so."""

REAL: Final[dict[Side, Kind]] = {Side.NEW: "new", Side.OLD: "old"}

_NEW: Final[Sequence[SlaveKind]] = ("new",) * 5
_OLD: Final[Sequence[SlaveKind]] = ("old",) * 5
KINDS: Final[Sequence[SlaveKind | None]] = (*(None,) * 10, *_NEW, *_OLD)
"""Slaves of a master of ours; None for ours."""

COMMANDS: Final[dict[State, str]] = {
    "in a silent build": "sleep 1000",
    "in a chatty build": "while :; do echo a line of a build; sleep 0.1; done",
}
CATALOG: Final[dict[State, str]] = {"in a silent build": "interrupt", "in a chatty build": "interrupt2"}

HOLE: Final = "harm-hole"
"""A namespace of the network for slaves."""
HOLE_HOST: Final = "10.213.77.2"
BRIDGE: Final = "harm0"
BRIDGE_HOST: Final = "10.213.77.1"
VOID: Final = "harm3"
"""Another bridge, which leads nowhere."""
PORT: Final = "harm1"
"""Of the bridge, to the namespace; there it is:"""
DISTANT_PORT: Final = "harm2"


# -- who takes part


def _file(names: Sequence[str], state: State, step: str = "") -> str:
    """Return a build file with a builder for each slave; unless the state is `idle` it builds at once."""
    # These rows are about plain links; what becomes of others, `python -m tests.cuts` shows.
    parts = ['[master]\nlisten = "127.0.0.1:9989"\npatience = 0\n']
    for name in names:
        parts.append(f'[[slave]]\nname = "{name}"\npassword = "pw"\n')
        parts.append(f'[[builder]]\nname = "b-{name}"\nslaves = ["{name}"]\n')
        parts.append("" if state == "idle" else 'triggers = { every = "2s" }\n')
        parts.append("[[builder.step]]\n")
        parts.append(step.format(name=name) or f'shell = "{COMMANDS.get(state, "true")}"\ntimeout = "1h"\n')
    return "".join(parts)


def _slave(folder: Path, master: Attachable, name: str, kind: SlaveKind | None) -> SlaveProgram:
    if kind is None:
        # The default of `keepalive`, in whole seconds.
        return OurSlave(folder / name, master, name, keepalive=6)
    return RealSlave(folder / name, master, name, kind=kind)


class _Links:
    """Masters and slaves that are attached to them, in a state."""

    def __init__(self, masters: Sequence[OurMaster | RealMaster], slaves: Sequence[SlaveProgram]) -> None:
        self.masters = masters
        self.slaves = slaves

    def master_lost(self, slave: SlaveProgram) -> bool:
        """Whether the slave's master noticed its end."""
        (master,) = (master for master in self.masters if master is slave.master)
        if isinstance(master, OurMaster):
            return f"slave {slave.name} detached" in master.log()
        return not master.status().slaves[slave.name].connected

    def slave_lost(self, slave: SlaveProgram) -> bool:
        """Whether the slave noticed the end of its master."""
        words = "said nothing for" if isinstance(slave, OurSlave) else "lost remote"
        return words in slave.log()


@contextlib.contextmanager
def _attached(side: Side, folder: Path, state: State, *, of_masters: bool) -> Iterator[_Links]:
    """Start what the harm is done to: masters whose slaves will be harmed, or slaves whose masters will be."""
    with contextlib.ExitStack() as stack:
        masters: list[OurMaster | RealMaster] = []
        slaves: list[SlaveProgram] = []
        if side is Side.OURS and of_masters:
            names = [f"s{number}" for number in range(len(KINDS))]
            master = stack.enter_context(OurMaster(folder / "master", _file(names, state)))
            masters.append(master)
            slaves += [_slave(folder, master, name, kind) for name, kind in zip(names, KINDS, strict=True)]
        elif side is Side.OURS:
            ours = OurMaster(folder / "master", _file([f"o{number}" for number in range(8)], state))
            masters.append(stack.enter_context(ours))
            masters += [stack.enter_context(_real_master(kind, folder, state, 6)) for kind in REAL.values()]
            for each in masters:
                slaves += [_slave(folder, each, name, None) for name in each.slaves]
        else:
            real = stack.enter_context(_real_master(REAL[side], folder, state, 1))
            masters.append(real)
            slaves += [_slave(folder, real, name, REAL[side]) for name in real.slaves]
        for slave in slaves:
            stack.enter_context(slave)
        for slave in slaves:
            slave.wait_attached(timeout=120)
        for each in masters:
            if isinstance(each, RealMaster) and state in CATALOG:
                for name in each.slaves:
                    each.force(f"b-{name}")
                for name in each.slaves:
                    each.wait_running(f"b-{name}", 60)
        if state in COMMANDS:
            poll(lambda: all(slave.step_processes() for slave in slaves), 60, "all slaves build")
        time.sleep(3)
        yield _Links(masters, slaves)


def _real_master(kind: Kind, folder: Path, state: State, slaves: int) -> RealMaster:
    names = [f"{kind}{number}" for number in range(slaves)]
    builders = [RealBuilder(f"b-{name}", CATALOG.get(state, "interrupt"), [name]) for name in names]
    return RealMaster(kind, folder / f"{kind}-master", builders, slaves=dict.fromkeys(names, "pw"))


# -- the harm


def _noticed(began: dict[SlaveProgram, float], lost: Callable[[SlaveProgram], bool]) -> str:
    """Wait until all are noticed to be lost, and return when they were."""
    found: dict[SlaveProgram, float] = {}
    end = max(began.values()) + PATIENCE
    while len(found) < len(began) and time.monotonic() < end:
        for slave in began:
            if slave not in found and lost(slave):
                found[slave] = time.monotonic() - began[slave]
        time.sleep(0.1)
    if not found:
        return f"not in {PATIENCE:.0f} s"
    times = sorted(found.values())
    figure = f"{times[0]:.1f} to {times[-1]:.1f} s, median {statistics.median(times):.1f} s ({len(times)} links)"
    return figure if len(found) == len(began) else f"{figure}; {len(began) - len(found)} not in {PATIENCE:.0f} s"


def _freeze_slaves(state: State, side: Side, folder: Path) -> str:
    with _attached(side, folder, state, of_masters=True) as links:
        began = {}
        for slave in links.slaves:
            began[slave] = time.monotonic()
            slave.freeze()
            time.sleep(0.37)
        return _noticed(began, links.master_lost)


def _freeze_masters(state: State, side: Side, folder: Path) -> str:
    with _attached(side, folder, state, of_masters=False) as links:
        for master in links.masters:
            master.freeze()
        return _noticed(dict.fromkeys(links.slaves, time.monotonic()), links.slave_lost)


def _stand_still(state: State, side: Side, folder: Path) -> str:
    with _attached(side, folder, state, of_masters=True) as links:
        for slave in links.slaves:
            slave.freeze()
            time.sleep(0.37)
        time.sleep(FREEZE - 0.37 * len(links.slaves))
        for slave in links.slaves:
            slave.thaw()
            time.sleep(0.37)
        time.sleep(10)
        masters = sum(map(links.master_lost, links.slaves))
    with _attached(side, folder / "second", state, of_masters=False) as links:
        for master in links.masters:
            master.freeze()
        time.sleep(FREEZE)
        for master in links.masters:
            master.thaw()
        time.sleep(10)
        slaves = sum(map(links.slave_lost, links.slaves))
        count = len(links.slaves)
    return f"dropped: {masters} of {count} slaves, {slaves} of {count} masters"


def _come_again(side: Side, folder: Path) -> str:
    """Freeze the holder of a name for 50 s, and have another slave come by the name."""
    with contextlib.ExitStack() as stack:
        kind = None if side is Side.OURS else REAL[side]
        master: OurMaster | RealMaster
        if side is Side.OURS:
            master = OurMaster(folder / "master", _file(["s0"], "idle"))
        else:
            master = RealMaster(REAL[side], folder / "master", ["interrupt"], slaves={"s0": "pw"})
        stack.enter_context(master)
        holder = stack.enter_context(_slave(folder, master, "s0", kind))
        holder.wait_attached()
        time.sleep(3)
        holder.freeze()
        began = time.monotonic()
        rival = stack.enter_context(_slave(folder / "rival", master, "s0", kind))
        while time.monotonic() < began + FREEZE and not rival.attachments:
            time.sleep(0.1)
        taken = time.monotonic() - began
        holder.thaw()
        return f"the name was given away after {taken:.1f} s" if rival.attachments else "the holder kept its name"


# -- the network


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def _network() -> Iterator[None]:
    """Make a network of this host and of a namespace, with a bridge between the two."""
    if os.geteuid():
        raise PermissionError("a network of its own needs root")
    _ip("netns", "add", HOLE)
    try:
        # The void stays down: this host would take in what comes over a bridge of its own, and answer its questions.
        for bridge in (BRIDGE, VOID):
            _ip("link", "add", bridge, "type", "bridge", "forward_delay", "0")
        _ip("link", "set", BRIDGE, "up")
        _ip("address", "add", f"{BRIDGE_HOST}/24", "dev", BRIDGE)
        _ip("link", "add", PORT, "type", "veth", "peer", "name", DISTANT_PORT, "netns", HOLE)
        _ip("link", "set", PORT, "master", BRIDGE, "up")
        _ip("-n", HOLE, "address", "add", f"{HOLE_HOST}/24", "dev", DISTANT_PORT)
        _ip("-n", HOLE, "link", "set", DISTANT_PORT, "up")
        _ip("-n", HOLE, "link", "set", "lo", "up")
        yield
    finally:
        # The end of a namespace, and of what is in it, may take its time.
        for device in (PORT, BRIDGE, VOID):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("link", "delete", device)
        _ip("netns", "delete", HOLE)


class _BridgedMaster(OurMaster):
    host = BRIDGE_HOST


class _DistantSlave(OurSlave):
    def command(self) -> Sequence[str]:
        return ["ip", "netns", "exec", HOLE, *super().command()]


class _DistantRealSlave(RealSlave):
    def command(self) -> Sequence[str]:
        return ["ip", "netns", "exec", HOLE, *super().command()]


def _distant(folder: Path, master: OurMaster, name: str, kind: SlaveKind | None) -> SlaveProgram:
    if kind is None:
        return _DistantSlave(folder / name, master, name, keepalive=6)
    return _DistantRealSlave(folder / name, master, name, kind=kind)


def _black_hole(state: State, side: Side, folder: Path) -> str:
    """Drop whatever is sent between a master of ours and its slaves. Buildbots listen on 127.0.0.1 only."""
    assert side is Side.OURS
    names = [f"s{number}" for number in range(len(KINDS))]
    with _network(), contextlib.ExitStack() as stack:
        master = stack.enter_context(_BridgedMaster(folder / "master", _file(names, state)))
        slaves = [_distant(folder, master, name, kind) for name, kind in zip(names, KINDS, strict=True)]
        for slave in slaves:
            stack.enter_context(slave)
        for slave in slaves:
            slave.wait_attached(timeout=120)
        time.sleep(10)
        links = _Links([master], slaves)
        _ip("link", "set", PORT, "master", VOID)
        began = time.monotonic()
        by_master = _noticed(dict.fromkeys(slaves, began), links.master_lost)
        time.sleep(max(0.0, began + PROMISED - time.monotonic()))
        ours = [slave for slave in slaves if isinstance(slave, OurSlave)]
        count = sum(map(links.slave_lost, ours))
        return f"by the master {by_master}; by {count} of {len(ours)} slaves of ours within {PROMISED:.0f} s"


def _slow_link(side: Side, folder: Path) -> str:
    """Send a file of 600 KB both ways over 64 kbit/s, to and from a slave of ours and one of each Buildbot."""
    assert side is Side.OURS
    kinds: Sequence[SlaveKind | None] = [None, "new", "old"]
    step = (
        'download = {{ src = "big", dest = "big", block_size = 600000 }}\n[[builder.step]]\n'
        'upload = {{ src = "big", dest = "{name}.back", block_size = 600000 }}\n'
    )
    names = [f"s{number}" for number in range(len(kinds))]
    with _network(), contextlib.ExitStack() as stack:
        master = _BridgedMaster(folder / "master", _file(names, "idle", step))
        (folder / "master" / "big").write_bytes(os.urandom(600_000))
        stack.enter_context(master)
        slaves = [_distant(folder, master, name, kind) for name, kind in zip(names, kinds, strict=True)]
        for slave in slaves:
            stack.enter_context(slave)
        for slave in slaves:
            slave.wait_attached(timeout=120)
        for words in (["tc"], ["ip", "netns", "exec", HOLE, "tc"]):
            device = PORT if len(words) == 1 else DISTANT_PORT
            rate = ["root", "tbf", "rate", "64kbit", "burst", "4kb", "latency", "5s"]
            subprocess.run([*words, "qdisc", "add", "dev", device, *rate], check=True, capture_output=True)
        began = time.monotonic()
        for name in names:
            subprocess.run(
                [*master.command()[:3], "trigger", "master.toml", f"b-{name}"],
                cwd=master.directory, check=True, capture_output=True,
            )  # fmt: skip
        arrived = [folder / "master" / f"{name}.back" for name in names]
        poll(lambda: all(path.exists() for path in arrived) or "detached" in master.log(), 1800, "the files are back")
        lost = master.log().count(" detached: ")
        return f"dropped: {lost} of {len(slaves)}; {time.monotonic() - began:.0f} s"


STATES: Final[Sequence[State]] = ("idle", "in a silent build", "in a chatty build")

ROWS: Final[Sequence[Row]] = (
    *(Row(1, f"slave frozen, {state}: noticed by its master", partial(_freeze_slaves, state)) for state in STATES),
    *(Row(1, f"master frozen, {state}: noticed by its slave", partial(_freeze_masters, state)) for state in STATES),
    *(Row(1, f"black hole, {state} (needs root)", partial(_black_hole, state), [Side.OURS]) for state in STATES),
    *(Row(1, f"frozen for {FREEZE:.0f} s, {state}", partial(_stand_still, state)) for state in STATES),
    Row(1, f"frozen for {FREEZE:.0f} s, and its name comes again", _come_again),
    Row(1, "600 KB over 64 kbit/s, both ways (needs root)", _slow_link, [Side.OURS]),
)
