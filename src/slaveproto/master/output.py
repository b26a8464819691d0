"""Output of steps, in pieces that wait until they are taken."""

from __future__ import annotations

from typing import Final

import attrs

STDIO: Final = "stdio"

OVERHEAD: Final = 100
"""Bytes that a piece counts beyond its text, so that empty ones are not free."""


@attrs.frozen
class Output:
    """A piece of output.

    Args:
        log: `stdio`, or the name of a log file of the step.
        stream: in `stdio`: `stdout`, `stderr` or `header`, which is what slave and master say themselves; else `log`.
        data: as the process wrote it, if the slave sent it so; text of a slave that sends text is UTF-8. Pieces end
            anywhere, also within a character.
    """

    log: str
    stream: str
    data: bytes


class UnreadBytes:
    """A count of bytes that a connection has brought and that are not taken."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class Spool:
    """The output of one step that is not taken yet.

    Args:
        unread: counts it for the whole connection.
    """

    def __init__(self, unread: UnreadBytes) -> None:
        self._unread = unread
        self._pieces: list[Output] = []
        self._size = 0

    def add(self, piece: Output) -> bool:
        """Append a piece; returns whether it is the first one."""
        self._pieces.append(piece)
        size = len(piece.data) + OVERHEAD
        self._size += size
        self._unread.size += size
        return len(self._pieces) == 1

    def take(self) -> list[Output]:
        """Return all pieces and forget them."""
        pieces, self._pieces = self._pieces, []
        self._unread.size -= self._size
        self._size = 0
        return pieces
