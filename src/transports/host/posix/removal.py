"""Removal of a tree by open directories, not by paths, so that no link can be put in the way."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from typing import Final

from transports.host.cancelling import Cancellation, Problems

assert sys.platform != "win32"

DEEPEST: Final = 100
"""Directories that are open at the same time."""


def remove(path: str, check: Cancellation) -> tuple[str, ...]:
    """Remove `path` and all in it; return what could not be removed. Links are never followed.

    Raises:
        OSError: cancelled.
    """
    directory, name = os.path.split(path)
    try:
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    try:
        remover = _Remover(check)
        remover.remove(parent, name, path, 0)
    finally:
        os.close(parent)
    return tuple(remover.problems.lines)


class _Remover:
    def __init__(self, check: Cancellation) -> None:
        self.problems = Problems()
        self._check = check
        self._top = -1

    def remove(self, parent: int, name: str, path: str, depth: int) -> None:
        """Remove one entry of the open directory `parent`; `path` is for people."""
        self._check()
        try:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                _forced(parent, depth, lambda: os.unlink(name, dir_fd=parent))
            elif depth > DEEPEST:
                # As it is, it would take too many open directories: it waits at the top for its turn.
                os.rename(name, os.urandom(12).hex(), src_dir_fd=parent, dst_dir_fd=self._top)
            else:
                self._remove_directory(parent, name, path, depth)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.problems.add(error, path)

    def _remove_directory(self, parent: int, name: str, path: str, depth: int) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        before = self.problems.count
        try:
            here = os.open(name, flags, dir_fd=parent)
        except PermissionError:
            os.chmod(name, 0o700, dir_fd=parent)
            here = os.open(name, flags, dir_fd=parent)
        try:
            if depth == 0:
                self._top = here
            while names := os.listdir(here):
                for inner in names:
                    self.remove(here, inner, f"{path}/{inner}", depth + 1)
                # Only at the top is there a second round, for the deep ones that came up in the first.
                if depth or self.problems.count > before:
                    break
        finally:
            os.close(here)
        if self.problems.count == before:
            _forced(parent, depth, lambda: os.rmdir(name, dir_fd=parent))


def _forced(parent: int, depth: int, action: Callable[[], None]) -> None:
    """Do something to a directory of the tree, also if it must be made writable for that."""
    try:
        action()
    except PermissionError:
        if depth == 0:
            raise
        os.fchmod(parent, 0o700)
        action()
