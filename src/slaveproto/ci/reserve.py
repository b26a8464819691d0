"""Room on the disk that is kept for bad times: a file in the state directory that only takes room.

It goes when the disk is full, so that the end of a build can be stored, and comes back when there is room again.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from slaveproto.ci.errors import NO_ROOM, CannotStore

FILE_NAME: Final = "reserve"
LARGEST: Final = 2**20
"""Bytes of the reserve."""
SHARE: Final = 16
"""The part of a small disk that it takes at most: a sixteenth."""


class Reserve:
    """The file.

    Args:
        state_dir: the folder; it has to be there.
    """

    def __init__(self, state_dir: str) -> None:
        self._folder = state_dir
        self._path = os.path.join(state_dir, FILE_NAME)

    def keep(self) -> None:
        """Make the file if it is not there.

        Raises:
            CannotStore: there is not twice the room for it, or it cannot be made.
        """
        try:
            disk = os.statvfs(self._folder)
            size = min(LARGEST, disk.f_blocks * disk.f_frsize // SHARE)
            with contextlib.suppress(FileNotFoundError):
                if os.path.getsize(self._path) == size:
                    return
            if disk.f_bavail * disk.f_frsize < 2 * size:
                raise CannotStore(self._path, "the disk is full", full=True)
            self._write(size)
        except OSError as error:
            raise CannotStore(self._path, error.strerror or str(error), full=error.errno in NO_ROOM) from None

    def _write(self, size: int) -> None:
        try:
            with open(self._path, "wb") as file:
                # Zeros would take no room on some disks.
                file.write(os.urandom(size))
        except OSError:
            self.spend()
            raise

    def spend(self) -> bool:
        """Give the room away; returns whether there was any."""
        try:
            os.unlink(self._path)
        except OSError:
            return False
        return True
