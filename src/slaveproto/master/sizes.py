"""Sizes of values that a peer sent. Parts that are shared are sent once, and may be met any number of times: before a
value is spelled out, its size has to be known."""

from __future__ import annotations

from typing import Final

from slaveproto.limits import Limits
from slaveproto.wire.values import Value

PART: Final = 64
"""Bytes that a part counts beyond its text."""

MOST_OF_A_MESSAGE: Final = Limits().message + PART * Limits().message_elements
"""The size of the largest message in which nothing is shared."""


def size_of(*values: Value, most: int) -> int:
    """Return about how many bytes values take; parts that are shared count each time, until it is more than `most`."""
    weight = 0
    todo: list[Value] = list(values)
    while todo and weight <= most:
        part = todo.pop()
        weight += PART
        if isinstance(part, (bytes, str)):
            weight += len(part)
        elif isinstance(part, dict):
            todo += part.keys()
            todo += part.values()
        elif isinstance(part, (list, tuple, set, frozenset)):
            todo += part
    return weight
