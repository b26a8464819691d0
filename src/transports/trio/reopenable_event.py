"""An event that can close again: tasks wait at it while their streams are not to be read."""

from __future__ import annotations

import trio


class ReopenableEvent:
    """A gate that tasks pass while it is open. It begins open."""

    def __init__(self) -> None:
        self._opened = trio.Event()
        self._opened.set()

    def turn(self, open: bool) -> None:  # noqa: A002  the gate is open
        """Open or close it."""
        if open:
            self._opened.set()
        elif self._opened.is_set():
            self._opened = trio.Event()

    async def passed(self) -> None:
        """Wait until it is open."""
        while not self._opened.is_set():
            await self._opened.wait()
