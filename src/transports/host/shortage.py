"""Shortage of what a connection needs: descriptors and memory."""

from __future__ import annotations

import errno
import os
from typing import Final

RESPITE: Final = 0.1
"""Seconds until the next attempt to accept a connection, if there is no room for one."""

INTERVAL: Final = 60.0
"""Seconds in which a shortage is told once."""

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def is_shortage(error: OSError) -> bool:
    """Return whether an error of `accept` says that there is no room for another connection."""
    return error.errno in _NO_ROOM


class Shortage:
    """The shortage that keeps one port from accepting connections.

    Args:
        what: is not accepted, in words.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        # When each kind was told last.
        self._told: dict[int, float] = {}

    def words(self, error: OSError, now: float) -> str | None:
        """Return what people should be told of a shortage, None if they were told a moment ago.

        Args:
            error: of `accept`.
            now: the time, in seconds of any clock that never goes back.
        """
        number = error.errno
        assert number is not None
        told = self._told.get(number)
        if told is not None and told + INTERVAL > now:
            return None
        self._told[number] = now
        return f"cannot accept {self._what}: {os.strerror(number)}; it is tried again until there is room"
