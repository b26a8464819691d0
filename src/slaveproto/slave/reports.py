"""Reports of the parts of a slave to its session, which takes them one by one after each event.

No part of a slave knows who owns it: what the session has to know is a value in one queue.
"""

from __future__ import annotations

from typing import TypeAlias


class CommandEnded:
    """A command of a builder is at its end.

    Args:
        builder: the builder's name.
        number: the command's number, which no other command of the session has.
    """

    __slots__ = ("builder", "number")

    def __init__(self, builder: str, number: int) -> None:
        self.builder = builder
        self.number = number


class BuildBegun:
    """The master began a build."""

    __slots__ = ()


class BuildNotTaken:
    """The master wanted to begin a build, and was refused because the slave leaves."""

    __slots__ = ()


class ShutdownAsked:
    """The master told the slave to go."""

    __slots__ = ()


Report: TypeAlias = CommandEnded | BuildBegun | BuildNotTaken | ShutdownAsked
