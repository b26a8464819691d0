"""Campaigns in virtual time: each byte of a build, and disconnects without end. What they return is what went wrong."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from tests.faults.world import Fault, Kind, Pieces, World

PIECES: Final = tuple(Pieces)

PATIENCE: Final = 3600.0
"""Seconds, of the world's, in which a build has to succeed after whatever happened."""

ENDS: Final = (Kind.CUT, Kind.SLAVE_ONLY, Kind.MASTER_ONLY, Kind.BLACK_HOLE, Kind.DRAINED)


@cache
def length(pieces: Pieces, *, lasting: bool = False) -> int:
    """Return the bytes that cross in one build, the login included, if nothing fails."""
    world = World(0, iter([Fault(Kind.CUT, 10**9)]), pieces, lasting=lasting)
    world.run(lambda: world.user.done, PATIENCE)
    (carrier,) = world.carriers
    return carrier.arrived


def every_byte(kind: Kind, pieces: Pieces, places: Iterable[int], *, lasting: bool = False) -> list[str]:
    """Build once for each place, with a fault there; return what went wrong. `lasting` is as for `World`."""
    wrong: list[str] = []
    for at in places:
        world = World(at, iter([Fault(kind, at)]), pieces, lasting=lasting)
        world.run(lambda world=world: world.user.done, PATIENCE)  # type: ignore[misc]
        found = _verdict(world)
        if world.stalled and world.opened > 1 and not lasting:
            found.append("a peer that stood still was dropped")
        if world.user.lost and lasting:
            found.append("a build did not outlive its link")
        wrong += [f"{kind.name} at byte {at}: {words}" for words in found]
    return wrong


def disconnects(seed: int, count: int, *, lasting: bool = False) -> World:
    """Build without end, until so many carriers have ended at random; return the world, with its verdict."""
    world = World(seed, _random_faults(seed, count), Pieces.WHOLE, builds=10**9, lasting=lasting)
    world.run(lambda: world.opened > count, PATIENCE * count)
    world.user.wanted = 0
    world.run(lambda: world.user.done, PATIENCE)
    world.user.wrong += _verdict(world)
    return world


def _random_faults(seed: int, count: int) -> Iterator[Fault]:
    chance = random.Random(seed)
    # Some die while the slave attaches, some after several builds.
    for _ in range(count):
        yield Fault(chance.choice(ENDS), int(chance.expovariate(1 / length(Pieces.WHOLE))))


def _verdict(world: World) -> list[str]:
    """Let a world end; return the promises that it broke."""
    wrong = list(world.user.wrong)
    if _references(world):
        # What gives them back may still be on its way, or the slave may still have to come again.
        end = world.now + 1000.0
        world.later(1000.0, lambda: None)
        world.run(lambda: world.now >= end, 1000.0)
    references = _references(world)
    world.stop()
    twice = {name: times for name, times in world.spawned.items() if times > 1}
    left = {name: number for name, number in world.master.census.items() if number}
    parts = [path for host in (world.slave_host, world.master_host) for path in host.paths if path.endswith(".part")]
    alive = [number for number, child in world.slave_host.children.items() if child.running]
    for what, found in (
        ("commands that ran twice", twice),
        ("steps without an end", world.user.pending),
        ("left in the master", left),
        ("commands of the slave without an end", world.running),
        ("half files", parts),
        ("children", alive),
        ("references too many", references),
    ):
        if found:
            wrong.append(f"{what}: {found}")
    return wrong


def _references(world: World) -> list[str]:
    """Return what an attached slave and its master hold of each other, and should not between two builds."""
    connection = world.slave._connection
    slave = world.master.slaves.get("bot1")
    if connection is None or slave is None or not connection.is_open:
        return []
    held = {local.label for end in (connection, slave.peer.connection) for local in end.exported}
    return sorted(held - {"bot", "builder linux", "perspective of bot1"})
