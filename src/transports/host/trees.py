"""Whole directories: looked at, removed, copied. Links are never followed.

Rules. A directory that is to be removed gets a hidden name first (`aside`). So whatever ends the removal half-way, a
kill or a limit, what is left has the directory's own name no more; the next removal of that directory finishes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final

from slaveproto.effects import PathInfo, TreeEntry
from transports.host.cancelling import Cancellation, Problems
from transports.host.system import disk, removal

BLOCK: Final = 1024 * 1024


def info_of(found: os.stat_result) -> PathInfo:
    """Return what the system said in our words."""
    return PathInfo(
        mode=disk.mode_of(found),
        inode=found.st_ino,
        device=found.st_dev,
        links=found.st_nlink,
        uid=found.st_uid,
        gid=found.st_gid,
        size=found.st_size,
        accessed=found.st_atime_ns,
        modified=found.st_mtime_ns,
        changed=found.st_ctime_ns,
    )


def scan(path: str, check: Cancellation) -> tuple[TreeEntry, ...]:
    """Look at everything in a directory; raises OSError."""
    found = []
    for name in sorted(os.listdir(path)):
        check()
        full = os.path.join(path, name)
        # What is gone by now was never there.
        with contextlib.suppress(FileNotFoundError):
            info = info_of(os.lstat(full))
            found.append(TreeEntry(name, info, disk.read_link(full) if stat.S_ISLNK(info.mode) else ""))
    return tuple(found)


def remove_tree(path: str, check: Cancellation) -> tuple[str, ...]:
    """Remove `path` and all in it; return what could not be removed, which is there under its old name.

    Raises:
        OSError: cancelled, or it is the root of the file system.
    """
    if not os.path.basename(path):
        raise OSError(errno.EINVAL, "the root of the file system is not removed")
    hidden = aside(path)
    # What cannot be removed of an earlier one keeps the name, and is no problem of this one.
    removal.remove(hidden, check)
    try:
        if stat.S_ISDIR(disk.mode_of(os.lstat(path))):
            os.rename(path, hidden)
    except OSError:
        # It is in use, or where another file system begins, or its directory is not ours to change.
        return removal.remove(path, check)
    if os.path.lexists(path):
        return removal.remove(path, check)
    problems = removal.remove(hidden, check)
    if problems:
        with contextlib.suppress(OSError):
            os.rename(hidden, path)
    return tuple(problem.replace(hidden, path, 1) for problem in problems)


def aside(path: str) -> str:
    """Return the path that a directory has while it is removed."""
    # Cut, so that the longest name leaves room for the rest.
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name[:60]}.removed")


# -- copying


def copy_tree(source: str, target: str, check: Cancellation) -> tuple[str, ...]:
    """Copy as `cp -R -P -p`; return what could not be copied.

    Raises:
        OSError: cancelled, or the place for it cannot be made.
    """
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(target):
        target = os.path.join(target, os.path.basename(source))
    copier = _Copier(check)
    copier.copy(source, target)
    return tuple(copier.problems.lines)


class _Copier:
    def __init__(self, check: Cancellation) -> None:
        self.problems = Problems()
        self._check = check
        # The first directory that was made here: nothing is copied from it.
        self._made: tuple[int, int] | None = None

    def copy(self, source: str, target: str) -> None:
        # A stack instead of calls, for trees may be deep. A directory gets its times after its content.
        todo = [(source, target, False)]
        while todo:
            here, there, content_done = todo.pop()
            self._check()
            try:
                found = os.lstat(here)
                if content_done:
                    disk.keep(found, there)
                elif stat.S_ISDIR(disk.mode_of(found)):
                    inner = self._enter(here, there, found)
                    todo.append((here, there, True))
                    todo += [(os.path.join(here, name), os.path.join(there, name), False) for name in inner]
                else:
                    self._copy_one(here, there, found)
            except OSError as error:
                self.problems.add(error, here)

    def _enter(self, here: str, there: str, found: os.stat_result) -> list[str]:
        """Make a directory and name what is to be copied into it."""
        if (found.st_dev, found.st_ino) == self._made:
            raise OSError(errno.EINVAL, "a directory is not copied into itself")
        try:
            os.mkdir(there, 0o700)
        except FileExistsError:
            made = os.lstat(there)
            if not stat.S_ISDIR(disk.mode_of(made)):
                raise
            if (made.st_dev, made.st_ino) == (found.st_dev, found.st_ino):
                raise OSError(errno.EINVAL, "source and target are the same") from None
        else:
            if self._made is None:
                made = os.lstat(there)
                self._made = made.st_dev, made.st_ino
        return sorted(os.listdir(here))

    def _copy_one(self, here: str, there: str, found: os.stat_result) -> None:
        with contextlib.suppress(FileNotFoundError):
            old = os.lstat(there)
            if (old.st_dev, old.st_ino) == (found.st_dev, found.st_ino):
                raise OSError(errno.EINVAL, "source and target are the same")
            if not stat.S_ISDIR(disk.mode_of(old)):
                disk.unlink(there)
        if stat.S_ISLNK(disk.mode_of(found)):
            disk.make_link(disk.read_link(here), there)
        elif stat.S_ISREG(found.st_mode):
            self._copy_file(here, there)
        else:
            disk.make_special(there, found)
        disk.keep(found, there)

    def _copy_file(self, here: str, there: str) -> None:
        source = os.open(here, disk.READ)
        try:
            target = os.open(there, disk.CREATE, 0o600)
            try:
                while block := os.read(source, BLOCK):
                    self._check()
                    view = memoryview(block)
                    while view:
                        view = view[os.write(target, view) :]
            finally:
                os.close(target)
        finally:
            os.close(source)
