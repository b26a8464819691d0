"""File systems of Windows, as far as POSIX differs.

All of it uses paths, not open directories. Of permissions there is one: a file or directory may be read-only, and then
it can neither be removed nor replaced before it is made writable.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable
from typing import Final

# Elsewhere than on Windows there is no other mode.
_BINARY: Final[int] = getattr(os, "O_BINARY", 0)

READ: Final = os.O_RDONLY | _BINARY
"""Opens a file to read it."""

CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
"""Creates a file to write to it."""

_MOUNT_POINT: Final = 0xA0000003
_EXTENDED: Final = "\\\\?\\"

_NO_NAME: Final = re.compile(r'[\x00-\x1f<>:"/\\|?*]')
_DEVICE: Final = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\xb9\xb2\xb3])\s*(?:\..*)?", re.IGNORECASE
)


def mode_of(found: os.stat_result) -> int:
    """Return type and permission bits; links are links, whatever kind of: a junction looks like a directory else."""
    if getattr(found, "st_reparse_tag", 0) == _MOUNT_POINT:
        return stat.S_IFLNK | stat.S_IMODE(found.st_mode)
    return found.st_mode


def occupy(directory: str) -> int | None:
    """Keep other processes that ask for the same out of a directory; return the descriptor that does so.

    Raises:
        BlockingIOError: another process has it.
        OSError: there is no such directory.
    """
    # It goes when the descriptor does, and cannot be opened again before.
    path = os.path.join(directory, "slaveproto.lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_TEMPORARY", 0)
    try:
        return os.open(path, flags)
    except (FileExistsError, PermissionError):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path) from None


def read_link(path: str) -> str:
    """Return where a link leads; raises OSError."""
    return os.readlink(path).removeprefix(_EXTENDED)


def make_link(target: str, path: str) -> None:
    """Make a symbolic link, for which one needs a right that not everybody has; raises OSError.

    Links to directories are of another kind, so it matters whether `target` is there already.
    """
    target = target.replace("/", "\\")
    os.symlink(target, path, target_is_directory=os.path.isdir(os.path.join(os.path.dirname(path), target)))


def make_hard_link(first: str, path: str) -> None:
    """Give a file a second name; raises OSError."""
    os.link(first, path)


def make_special(path: str, found: os.stat_result) -> None:
    """Raise OSError: what is neither file, directory nor link cannot be made."""
    raise OSError(errno.EINVAL, "neither file, directory nor link")


def keep(found: os.stat_result, path: str) -> None:
    """Give a copy the permission and the times of what it was made of; raises OSError."""
    if not stat.S_ISLNK(mode_of(found)):
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.chmod(path, stat.S_IMODE(found.st_mode))


def set_mode(descriptor: int, path: str, mode: int) -> None:
    """Set the permission bits of an open file; raises OSError."""
    os.chmod(path, mode)


def write(path: str, offset: int, data: bytes) -> None:
    """Write all of `data` into a file that is there, and no link; raises OSError."""
    if stat.S_ISLNK(mode_of(os.lstat(path))):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    descriptor = os.open(path, os.O_WRONLY | _BINARY)
    try:
        os.lseek(descriptor, offset, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def finish(path: str, mode: int | None) -> None:
    """Set the permission bits of a file, unless `mode` is None, and bring it safely to the disk; raises OSError."""
    # What is only open to be read cannot be brought to the disk.
    descriptor = os.open(path, os.O_RDWR | _BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if mode is not None:
        os.chmod(path, mode)


def replace(path: str, target: str) -> None:
    """Bring a file to the place of `target` in one step, whatever file is there; raises OSError."""
    forced(target, lambda: os.replace(path, target))


def unlink(path: str) -> None:
    """Remove a file or link; raises OSError."""
    forced(path, lambda: os.unlink(path))


def forced(path: str, action: Callable[[], None]) -> None:
    """Do what something read-only at `path` may refuse, also if it must be made writable for that; raises OSError."""
    try:
        action()
    except PermissionError:
        mode = mode_of(os.lstat(path))
        if stat.S_ISLNK(mode) or mode & stat.S_IWRITE:
            raise
        os.chmod(path, mode | stat.S_IWRITE)
        try:
            action()
        except OSError:
            with contextlib.suppress(OSError):
                os.chmod(path, mode)
            raise


def may_be_name(part: str) -> bool:
    """Whether one name of an archive is one name here, and that of a file like any other."""
    return not (_NO_NAME.search(part) or part.endswith((" ", ".")) or _DEVICE.fullmatch(part))
