"""Streams over networks that fail, in virtual time: what arrives is what was sent."""

from __future__ import annotations

import random

import pytest

from slaveproto.resume import ResumePolicy, StreamState
from slaveproto.resume.stream import NEWBORN
from tests.resume.world import Fault, Kind, World

pytestmark = pytest.mark.campaigns

UP = bytes(range(256)) * 2
DOWN = bytes(reversed(range(256))) * 2

CONVERSATION = 3000
"""Bytes that an undisturbed conversation takes, both directions together."""

FORGOTTEN = "the stream is not known here"

STEP = 97
"""Bytes between two places at which a fault strikes; the campaign strikes at each."""


def arrives(world: World) -> None:
    """Check that all arrived, once, or that the stream was never open, or not known to be."""
    assert world.client_over is not None
    assert world.server_over is not None or world.stream is None
    if not world.opened:
        assert world.client_over
        assert not world.server_user.got
        return
    if world.server_over == f"the other end did not come back within {NEWBORN:g} s":
        # The server may not wait longer for a client that may not know of the stream. Both are told.
        assert FORGOTTEN in world.client_over
        assert not world.server_user.got
        assert world.server_user.sends.startswith(world.client_user.got)
        return
    assert bytes(world.server_user.got) == world.client_user.sends
    assert bytes(world.client_user.got) == world.server_user.sends
    if world.client_over:
        # The acknowledgement of the client's last bytes was lost, and the server is done with the stream.
        assert FORGOTTEN in world.client_over
        assert world.server_over == ""
    # The last acknowledgement is not acknowledged: if it is lost, the server waits in vain for a client that is done.
    assert world.server_over in ("", "the other end did not come back within 900 s")
    assert world.client_user.got_end
    assert world.streams_opened == 1


def test_conversation_without_faults() -> None:
    world = World(UP, DOWN)
    world.run()
    arrives(world)
    assert world.losses == 0
    assert 2000 < world.carriers[1].arrived < CONVERSATION


@pytest.mark.parametrize("kind", Kind)
def test_one_fault_anywhere(kind: Kind) -> None:
    for after in range(0, CONVERSATION, STEP):
        world = World(UP, DOWN, [Fault(kind, after)], seed=after)
        world.run()
        arrives(world)


def random_world(dice: random.Random, seed: int) -> World:
    """Return a world with several faults."""
    # All outages together are no longer than the patience.
    outages = dice.choice([[0.0, 3.0, 50.0], [0.0]])
    faults = [
        Fault(dice.choice(list(Kind)), dice.randrange(250, 1500), dice.choice(outages))
        for _ in range(dice.randrange(1, 8))
    ]
    up, down, pieces = UP * dice.randrange(1, 4), DOWN * dice.randrange(4), dice.choice([1, 5, 40, 400])
    if pieces == 1:
        up, down = up[:200], down[:200]
    return World(up, down, faults, seed, pieces=pieces)


@pytest.mark.parametrize("seed", range(40))
def test_many_faults(seed: int) -> None:
    world = random_world(random.Random(seed), seed)
    world.run()
    arrives(world)


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.BLACK_HOLE])
def test_patience(kind: Kind) -> None:
    """14 minutes are nothing, 16 are the end at both ends."""
    world = World(UP, DOWN, [Fault(kind, 1000, outage=14 * 60.0)])
    world.run()
    arrives(world)
    world = World(UP, DOWN, [Fault(kind, 1000, outage=16 * 60.0)])
    world.run()
    assert world.client.stream.state is StreamState.EXPIRED
    assert world.client_over == world.server_over == "the other end did not come back within 900 s"
    assert UP.startswith(world.server_user.got)
    assert DOWN.startswith(world.client_user.got)


def test_dead_carrier_is_noticed() -> None:
    world = World(UP, DOWN, [Fault(Kind.BLACK_HOLE, 1000)])
    world.run(stop=lambda: world.losses > 0)
    assert 30.0 <= world.now <= 35.0


def test_client_that_was_welcomed_is_waited_for_as_long_as_any() -> None:
    """The client knows that the stream is open when it is welcomed, though no other frame came."""
    world = World(UP, b"", [Fault(Kind.CUT, 353, outage=300.0)], seed=200114)
    world.run()
    assert world.opened
    assert world.losses == 1
    arrives(world)


def test_stream_that_may_not_be_known_is_not_waited_for_long() -> None:
    world = World(UP, DOWN, [Fault(Kind.CUT, 290, outage=3600.0)])
    world.run()
    assert world.stream is None or world.now < NEWBORN + 10.0


def test_what_waits_is_bounded() -> None:
    policy = ResumePolicy(kept=2000)
    world = World(UP * 40, DOWN * 40, [Fault(Kind.CUT, 1000, outage=800.0)], policy=policy, pieces=400)
    world.run()
    arrives(world)
    assert world.most_kept <= 2000 + 400
