"""Whole directories: looked at, removed, copied. Links are never followed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable
from typing import Final

import attrs

from slaveproto.effects import PathInfo, TreeEntry

BLOCK: Final = 1024 * 1024
MOST_PROBLEMS: Final = 100
DEEPEST: Final = 100
"""Directories that are open at the same time while a tree is removed."""


@attrs.frozen
class Cancellation:
    """Raises ECANCELED once the event is set; to be called every now and then."""

    event: threading.Event | None

    def __call__(self) -> None:
        if self.event is not None and self.event.is_set():
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))


@attrs.define
class _Problems:
    """What went wrong on the way, for people. Being cancelled is none of it."""

    lines: list[str] = attrs.field(factory=list)
    count: int = 0

    def add(self, error: OSError, path: str) -> None:
        if error.errno == errno.ECANCELED:
            raise error
        self.count += 1
        if len(self.lines) < MOST_PROBLEMS:
            self.lines.append(f"{path}: {error.strerror}")


def info_of(found: os.stat_result) -> PathInfo:
    """Return what the system said in our words."""
    return PathInfo(
        mode=found.st_mode,
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
            found.append(TreeEntry(name, info, os.readlink(full) if stat.S_ISLNK(info.mode) else ""))
    return tuple(found)


# -- removing


def remove_tree(path: str, check: Cancellation) -> tuple[str, ...]:
    """Remove `path` and all in it; return what could not be removed.

    Raises:
        OSError: cancelled, or it is the root of the file system.
    """
    directory, name = os.path.split(path)
    if not name:
        raise OSError(errno.EINVAL, "the root of the file system is not removed")
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
    """Goes by open directories, not by paths: nobody can put a link in the way."""

    def __init__(self, check: Cancellation) -> None:
        self.problems = _Problems()
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
                os.rename(name, secrets.token_hex(12), src_dir_fd=parent, dst_dir_fd=self._top)
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
        self.problems = _Problems()
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
                    _keep(found, there)
                elif stat.S_ISDIR(found.st_mode):
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
            if not stat.S_ISDIR(made.st_mode):
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
            if not stat.S_ISDIR(old.st_mode):
                os.unlink(there)
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(here), there)
        elif stat.S_ISREG(found.st_mode):
            self._copy_file(here, there)
        elif stat.S_ISFIFO(found.st_mode):
            os.mkfifo(there, 0o600)
        else:
            os.mknod(there, 0o600 | stat.S_IFMT(found.st_mode), found.st_rdev)
        _keep(found, there)

    def _copy_file(self, here: str, there: str) -> None:
        source = os.open(here, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            target = os.open(there, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
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


def _keep(found: os.stat_result, there: str) -> None:
    """Give a copy the owner, the permissions and the times of what it was made of."""
    mode = stat.S_IMODE(found.st_mode)
    try:
        os.chown(there, found.st_uid, found.st_gid, follow_symlinks=False)
    except PermissionError:
        # As anybody's own, it does not run with somebody else's rights.
        mode &= ~(stat.S_ISUID | stat.S_ISGID)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(there, mode)
    os.utime(there, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
