"""Lines that a program writes. A reader that is stuck costs lines, never the program."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Final

from slaveproto.ci.show.console import say

UNREAD: Final = 1000
"""Lines that may wait."""

LAST_LINES: Final = 1.0
"""Seconds that the last of them have."""


class Lines:
    """Lines for one descriptor, written by a thread.

    Args:
        descriptor: an open one.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="lines", daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """Write a line, some time."""
        if self._lines.qsize() < UNREAD:
            self._lines.put(text)

    def close(self) -> None:
        """Wait until the last lines are written, or `LAST_LINES` is over."""
        self._lines.put(None)
        self._thread.join(LAST_LINES)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            say(self._descriptor, line)
