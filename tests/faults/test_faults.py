"""A whole build at whose every byte the network fails; and a long life with thousands of disconnects.

`python -m tests.faults --help` does the same for longer.
"""

from __future__ import annotations

import pytest

from tests.faults.campaign import PIECES, disconnects, every_byte, length
from tests.faults.world import Fault, Kind, Pieces, World

pytestmark = pytest.mark.campaigns

STRIDES = {Pieces.WHOLE: 131, Pieces.MIXED: 197, Pieces.BYTES: 1999}
"""Bytes between two tries here; the campaign tries each."""


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("kind", Kind)
def test_a_fault_at_any_byte_of_a_build(kind: Kind, pieces: Pieces) -> None:
    offset = list(Kind).index(kind) * len(PIECES) + PIECES.index(pieces)
    assert length(pieces) > 1000
    assert every_byte(kind, pieces, range(offset, length(pieces), STRIDES[pieces])) == []


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("kind", Kind)
def test_a_build_outlives_its_link_whenever_that_fails(kind: Kind, pieces: Pieces) -> None:
    offset = list(Kind).index(kind) * len(PIECES) + PIECES.index(pieces)
    places = range(offset, length(pieces, lasting=True), STRIDES[pieces])
    assert every_byte(kind, pieces, places, lasting=True) == []


def test_a_life_with_disconnects_that_builds_outlive() -> None:
    world = disconnects(0, 200, lasting=True)
    assert world.user.wrong == []
    assert world.user.lost == 0
    assert world.user.succeeded > 10


@pytest.mark.parametrize("seed", range(2))
def test_a_life_with_disconnects(seed: int) -> None:
    world = disconnects(seed, 200)
    assert world.user.wrong == []
    assert world.user.lost > 10
    assert world.user.succeeded > 10


def test_a_world_notices_a_command_that_runs_twice() -> None:
    world = World(1, iter([Fault(Kind.CUT, 100)]), Pieces.WHOLE)
    world.spawned["step-2"] = 1
    world.run(lambda: world.user.done, 1000.0)
    assert world.user.wrong
