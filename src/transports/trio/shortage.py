"""Shortage of what a connection needs: descriptors and memory."""

from __future__ import annotations

import errno
import logging
import os
from typing import Final

import trio

RESPITE: Final = 0.1
"""Seconds until the next attempt to accept a connection, if there is no room for one."""

INTERVAL: Final = 60.0
"""Seconds in which a shortage is told once."""

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})

_LOGGER: Final = logging.getLogger(__name__)


class Shortage:
    """The shortage that keeps one port from accepting connections.

    Args:
        what: is not accepted, in words.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        # When each kind was told last.
        self._told: dict[int, float] = {}

    async def endure(self, error: OSError) -> bool:
        """Return whether an error of `accept` is a shortage; then tell of it and wait a little."""
        number = error.errno
        if number not in _NO_ROOM:
            return False
        now = trio.current_time()
        told = self._told.get(number)
        if told is None or told + INTERVAL <= now:
            self._told[number] = now
            words = "cannot accept %s: %s; it is tried again until there is room"
            _LOGGER.error(words, self._what, os.strerror(number))
        await trio.sleep(RESPITE)
        return True
