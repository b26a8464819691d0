"""Rows of the table of harm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from slaveproto.testing.peers import Kind


class Side(Enum):
    """The side that the harm is done to; its value is its name in the table."""

    OURS = "ours"
    NEW = "4.3.0"
    OLD = "0.8.4"


ALL: Sequence[Side] = tuple(Side)

KINDS: Final[Mapping[Side, Kind]] = {Side.NEW: "new", Side.OLD: "old"}
"""Real Buildbots by their sides."""

DoHarm: TypeAlias = Callable[[Side, Path], str]
"""Function of a row: does the harm to the side, in an empty folder that is its own, and returns the figure."""


@attrs.frozen
class Row:
    """One harm.

    Args:
        promise: the number of the promise in docs/promises.md.
        title: what is done, and what is measured.
        do: does it.
        sides: those that it can be done to.
    """

    promise: int
    title: str
    do: DoHarm
    sides: Sequence[Side] = ALL
