"""File systems of POSIX, as far as other systems differ."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from typing import Final

assert sys.platform != "win32"

READ: Final = os.O_RDONLY | os.O_NOFOLLOW
"""Opens a file to read it, but no link."""

CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
"""Creates a file to write to it."""


def mode_of(found: os.stat_result) -> int:
    """Return type and permission bits; links are links, whatever kind of."""
    return found.st_mode


def occupy(directory: str) -> int | None:
    """Keep other processes that ask for the same out of a directory; return the descriptor that does so.

    None if its file system cannot.

    Raises:
        BlockingIOError: another process has it.
        OSError: there is no such directory.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF):
            return None
        raise
    return descriptor


def read_link(path: str) -> str:
    """Return where a link leads; raises OSError."""
    return os.readlink(path)


def make_link(target: str, path: str) -> None:
    """Make a symbolic link; raises OSError."""
    os.symlink(target, path)


def make_hard_link(first: str, path: str) -> None:
    """Give a file a second name; raises OSError."""
    os.link(first, path, follow_symlinks=False)


def make_special(path: str, found: os.stat_result) -> None:
    """Make another one of what is neither file, directory nor link, for its owner alone; raises OSError."""
    if stat.S_ISFIFO(found.st_mode):
        os.mkfifo(path, 0o600)
    else:
        os.mknod(path, 0o600 | stat.S_IFMT(found.st_mode), found.st_rdev)


def keep(found: os.stat_result, path: str) -> None:
    """Give a copy the owner, the permissions and the times of what it was made of; raises OSError."""
    mode = stat.S_IMODE(found.st_mode)
    try:
        os.chown(path, found.st_uid, found.st_gid, follow_symlinks=False)
    except PermissionError:
        # As an ordinary file, it does not run with another user's rights.
        mode &= ~(stat.S_ISUID | stat.S_ISGID)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(path, mode)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def set_mode(descriptor: int, path: str, mode: int) -> None:
    """Set the permission bits of an open file; raises OSError."""
    os.fchmod(descriptor, mode)


def write(path: str, offset: int, data: bytes) -> None:
    """Write all of `data` into a file that is there, and no link; raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            offset += written
            view = view[written:]
    finally:
        os.close(descriptor)


def finish(path: str, mode: int | None) -> None:
    """Set the permission bits of a file, unless `mode` is None, and bring it safely to the disk; raises OSError."""
    descriptor = os.open(path, READ)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: str, target: str) -> None:
    """Bring a file to the place of `target` in one step, whatever file is there; raises OSError."""
    os.replace(path, target)


def unlink(path: str) -> None:
    """Remove a file or link; raises OSError."""
    os.unlink(path)


def may_be_name(part: str) -> bool:
    """Whether one name of an archive is one name here, and that of a file like any other."""
    return True
