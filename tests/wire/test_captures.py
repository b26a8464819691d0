"""Every recorded session of real masters and slaves, cut anywhere, and replayed from both ends."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import pytest

from slaveproto.wire import Released, Role
from slaveproto.wire.banana import Decoder, Expression
from tests.wire.replay import FAILURE_FORM, Replay, homecomings, split
from tests.wire.support import LIMITS, capture, captures, cuts, expressions, pb

DIRECTIONS: Final = ("m2s", "s2m")

UNLIKE: Final[dict[tuple[str, Role], set[str]]] = {
    ("new-mid__attach-fails", Role.CLIENT): {FAILURE_FORM},
    ("new-mid__attach-fails-c1", Role.CLIENT): {FAILURE_FORM},
    ("new-mid__attach-fails-c2", Role.CLIENT): {FAILURE_FORM},
    ("new-new__bad-password", Role.SERVER): {FAILURE_FORM},
    ("new-new__bad-password-c1", Role.SERVER): {FAILURE_FORM},
    ("new-new__badargs", Role.CLIENT): {FAILURE_FORM},
    ("new-new__duplicate-c1", Role.SERVER): {FAILURE_FORM},
    ("new-new__oversize", Role.CLIENT): {FAILURE_FORM},
    ("new-new__transferfail", Role.CLIENT): {FAILURE_FORM},
    ("new-new__unknown", Role.CLIENT): {FAILURE_FORM},
    ("new-old__attach-fails", Role.CLIENT): {FAILURE_FORM},
    ("new-old__attach-fails-c1", Role.CLIENT): {FAILURE_FORM},
    ("new-old__attach-fails-c2", Role.CLIENT): {FAILURE_FORM},
    ("new24-mid__hello", Role.CLIENT): {FAILURE_FORM},
    ("new24-mid__newcmds", Role.CLIENT): {FAILURE_FORM},
    ("new24-mid__shell", Role.CLIENT): {FAILURE_FORM},
    ("new24-mid__unicode-hang", Role.CLIENT): {FAILURE_FORM},
    ("new24-mid__upload", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__attach", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__bad-password", Role.SERVER): {FAILURE_FORM},
    ("new24-old__badargs", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__binary", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__concurrent", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__dirupload", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__download", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__env", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__fs", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__git", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__graceful-master", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__hello", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__interrupt", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__keepalive", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__logfiles", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__output", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__props", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__reconfig", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__shell", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__stat", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__stdin", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__timeout", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__transferfail", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__unicode", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__unknown", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__upload", Role.CLIENT): {FAILURE_FORM},
    ("new24-old__warn", Role.CLIENT): {FAILURE_FORM},
    ("old-mid__newcmds", Role.CLIENT): {FAILURE_FORM},
    ("old-new__attach", Role.CLIENT): {FAILURE_FORM},
    ("old-new__download", Role.CLIENT): {FAILURE_FORM},
    ("old-new__fs", Role.CLIENT): {FAILURE_FORM},
    ("old-new__hello", Role.CLIENT): {FAILURE_FORM},
    ("old-new__pty", Role.CLIENT): {FAILURE_FORM},
    ("old-new__upload", Role.CLIENT): {FAILURE_FORM},
    ("old-old__bad-password", Role.SERVER): {FAILURE_FORM},
    ("old-old__badargs", Role.CLIENT): {FAILURE_FORM},
    ("old-old__duplicate-c1", Role.SERVER): {FAILURE_FORM},
    ("old-old__newcmds", Role.CLIENT): {FAILURE_FORM},
    ("old-old__oversize", Role.CLIENT): {FAILURE_FORM},
    ("old-old__transferfail", Role.CLIENT): {FAILURE_FORM},
    ("old-old__unknown", Role.CLIENT): {FAILURE_FORM},
    ("old-old__warn", Role.CLIENT): {FAILURE_FORM},
}
"""Where our bytes are not the recorded ones, and in which way. See docs/differences-wire.md."""


def streams(name: str) -> dict[str, list[bytes]]:
    """Return the chunks of both directions."""
    chunks = capture(name)
    return {way: [bytes.fromhex(chunk[2]) for chunk in chunks if chunk[1] == way] for way in DIRECTIONS}


@lru_cache(maxsize=4)
def conversation(name: str) -> list[tuple[str, Expression]]:
    """Return the expressions of both directions in the order in which they were complete."""
    decoders = {way: Decoder(LIMITS, vocabulary=True) for way in DIRECTIONS}
    out: list[tuple[str, Expression]] = []
    for chunk in capture(name):
        out += [(chunk[1], expression) for expression in split(bytes.fromhex(chunk[2]), decoders[chunk[1]])]
    assert not any(decoder.pending for decoder in decoders.values())
    return out


@pytest.mark.parametrize("way", DIRECTIONS)
@pytest.mark.parametrize("name", captures())
def test_bytes(name: str, way: str) -> None:
    chunks = streams(name)[way]
    stream = b"".join(chunks)
    recorded = expressions(chunks)
    assert recorded == [expression for direction, expression in conversation(name) if direction == way]
    # Neither profile is a word of the vocabulary, so one call encodes what came before the choice, too.
    assert b"".join(map(pb, recorded)) == stream
    assert expressions(stream) == recorded
    step = max(7, len(stream) // 5000)
    assert expressions(list(cuts(stream, range(0, len(stream), step)))) == recorded


@pytest.mark.parametrize(("role", "own"), [(Role.CLIENT, "s2m"), (Role.SERVER, "m2s")])
@pytest.mark.parametrize("name", captures())
def test_replay(name: str, role: Role, own: str) -> None:
    session = conversation(name)
    replay = Replay(role, homecomings(expression for way, expression in session if way == own))
    for way, expression in session:
        if way == own:
            replay.send(expression)
        else:
            replay.receive(expression)
    assert replay.violation is None
    assert replay.matched == sum(way == own for way, _ in session)
    assert not replay.sent
    assert replay.unlike == UNLIKE.get((name, role), set())
    # Both ends count the same: what they hold of us is what they have not given back.
    given = len([event for event in replay.events if isinstance(event, Released)])
    assert given + len(replay.connection.exported) == len(replay.theirs)


def test_the_exceptions_exist() -> None:
    assert {name for name, _ in UNLIKE} <= set(captures())
