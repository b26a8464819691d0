"""Output of steps, in pieces that wait until they are taken.

Rules.

* What waits counts for its connection, which is left unread while that is too much: the slave is slowed down.
* A step whose output is not taken must not hold up the other builds of its slave. Then its output is set apart: it
  counts no more, has a room of its own, and what does not fit into that is left out. Once it is taken, it counts again.
"""

from __future__ import annotations

from typing import Final

import attrs

STDIO: Final = "stdio"

OVERHEAD: Final = 100
"""Bytes that a piece counts beyond its text, so that empty ones are not free."""

MOST_APART: Final = 16 * 1024 * 1024
"""Bytes that the output of a step may have that is set apart."""


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

    __slots__ = ("_apart", "_left_out", "_pieces", "_unread", "size")

    def __init__(self, unread: UnreadBytes) -> None:
        self._unread = unread
        self._pieces: list[Output] = []
        self.size = 0
        """Bytes that are not taken."""
        self._apart = False
        self._left_out = 0

    def add(self, piece: Output) -> bool:
        """Append a piece; returns whether it is the first one."""
        size = len(piece.data) + OVERHEAD
        if self._apart:
            # What comes after a gap would hide it.
            if self._left_out or self.size + size > MOST_APART:
                self._left_out += len(piece.data)
                return False
        else:
            self._unread.size += size
        self._pieces.append(piece)
        self.size += size
        return len(self._pieces) == 1

    def set_apart(self) -> None:
        """Count it no more for the connection until it is taken, and leave out what is too much."""
        if not self._apart:
            self._apart = True
            self._unread.size -= self.size

    def take(self) -> list[Output]:
        """Return all pieces and forget them."""
        pieces, self._pieces = self._pieces, []
        if self._apart:
            self._apart = False
            if self._left_out:
                text = b"\n[%d bytes are left out here: the output was not read in time]\n" % self._left_out
                pieces.append(Output(STDIO, "header", text))
                self._left_out = 0
        else:
            self._unread.size -= self.size
        self.size = 0
        return pieces
