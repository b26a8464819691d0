"""Mutations that keep a conversation readable: they change expressions, where a fuzzer changes bytes."""

from __future__ import annotations

import random
from typing import Final

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.limits import Limits
from slaveproto.wire.banana import NEED_DATA, VOCABULARY, Decoder, Expression, encode

LIMITS: Final = Limits()

INTERESTING: Final[tuple[Expression, ...]] = (
    0, 1, -1, 2, 3, 127, 128, 2**31 - 1, 2**31, -(2**31), 2**63, 2**400, 0.0, 1e308, b"", b"None", b"\xff\xfe",
    b"root", b"login", b"attached", b"update", b"complete", b"rc", b"stdout", b"x" * 1000, [], [b"None"], [[]],
    [b"unicode", b"\xc3\xa4"], [b"unicode", b"\xff"], [b"reference", 1, [b"list"]], [b"dereference", 1],
    [b"tuple"], [b"list"], [b"dictionary"], [b"dictionary", [1, 2]], [b"remote", 1], [b"local", 1],
    [b"boolean", b"true"],
)  # fmt: skip
"""Values that have been trouble somewhere."""

READABLE: Final = 4096
"""Expressions of an input that are looked at."""


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Change some expressions of an input, whose first byte is no part of them."""
    expressions = _read(data[1:])
    for _ in range(chance.choice((1, 1, 2, 4))):
        _change(expressions, chance)
    out = [data[:1] or b"\0"]
    for expression in expressions:
        try:
            out.append(encode(expression, vocabulary=True, limits=LIMITS))
        except LocalProtocolError:
            # Deeper or longer than anything may be.
            continue
    return b"".join(out)


def _read(data: bytes) -> list[Expression]:
    decoder = Decoder(LIMITS, vocabulary=True)
    decoder.feed(data)
    found: list[Expression] = []
    try:
        while len(found) < READABLE and (expression := decoder.next_expression()) is not NEED_DATA:
            found.append(expression)
    except RemoteProtocolError:
        # What was readable before is worth something.
        pass
    return found


def _change(expressions: list[Expression], chance: random.Random) -> None:
    """Change one place, at any depth."""
    where = expressions
    while True:
        inner = [item for item in where if isinstance(item, list) and item]
        if not inner or chance.random() < 0.25:
            break
        where = chance.choice(inner)
    at = chance.randrange(len(where) + 1)
    match chance.randrange(7):
        case 0:
            where.insert(at, chance.choice(INTERESTING))
        case 1 if where:
            del where[at - 1]
        case 2 if where:
            where.insert(at, where[at - 1])
        case 3 if where:
            where[at - 1] = chance.choice(INTERESTING)
        case 4 if len(where) > 1:
            other = chance.randrange(len(where))
            where[at - 1], where[other] = where[other], where[at - 1]
        case 5 if where:
            where[at - 1] = [where[at - 1]]
        case _:
            where.insert(at, chance.choice(VOCABULARY))
