"""Sides of a mender, and what it tells."""

from __future__ import annotations

from enum import Enum, auto
from typing import TypeAlias

from slaveproto.records import record


class Side(Enum):
    """The two ends between which a mender stands."""

    MASTER = auto()
    SLAVE = auto()

    @property
    def other(self) -> Side:
        """The end that what comes from this one is for."""
        return Side.SLAVE if self is Side.MASTER else Side.MASTER


@record
class Mended:
    """A row of the table was needed; told once for each row and connection.

    Args:
        name: of the row of `MENDS`.
        side: the end that would not have borne it.
    """

    name: str
    side: Side


@record
class PassedOn:
    """A message that is not understood was passed on as it came; told once for each kind and connection.

    Args:
        what: its kind, in words.
        side: the end that sent it.
    """

    what: str
    side: Side


MendEvent: TypeAlias = Mended | PassedOn
