"""The effects on files, each as one blocking call. Every runner uses these."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from typing import assert_never

from slaveproto.effects import (
    CopyTree,
    CreateTemp,
    ExpandGlob,
    FileEffect,
    FileStamp,
    ListDir,
    ListNames,
    MakeDirs,
    PlaceFile,
    ReadDir,
    ReadFile,
    RemoveTree,
    ScanDir,
    SetTimes,
    Stat,
    StatPath,
    Unlink,
    UnpackTree,
    WriteFile,
)
from transports.host.cancelling import Cancellation
from transports.host.system import disk


def perform(effect: FileEffect, cancelled: threading.Event | None = None) -> object:
    """Perform an effect and return its reply.

    Args:
        effect: what to do.
        cancelled: once it is set, an effect that takes long ends.

    Raises:
        OSError: it could not be performed; ECANCELED if it was cancelled.
        ValueError: the system cannot be asked this, such as a null byte in a path.
    """
    try:
        return _perform(effect, Cancellation(cancelled))
    except OverflowError as error:
        # Python itself refuses some values, such as an offset or a time of many digits.
        raise OSError(errno.EOVERFLOW, str(error)) from None
    except ImportError as error:
        # Some modules are only imported when they are needed.
        raise OSError(errno.ENOSYS, str(error)) from None


def _perform(effect: FileEffect, check: Cancellation) -> object:
    match effect:
        case MakeDirs(path):
            existed = os.path.isdir(path)
            os.makedirs(path, exist_ok=True)
            return not existed
        case ListDir(path):
            with os.scandir(path) as entries:
                return tuple(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        case ReadDir(path):
            return _read_dir(path)
        case Stat(path):
            return _stamp(path)
        case ReadFile(path, offset, size):
            with open(path, "rb", buffering=0) as file:
                file.seek(offset)
                return file.read(size)
        case CreateTemp(path):
            return _create_temp(path)
        case WriteFile(path, offset, data):
            disk.write(path, offset, data)
            return None
        case PlaceFile(path, target, mode):
            _place(path, target, mode)
            return None
        case Unlink(path):
            return _remove(path)
        case SetTimes(path, accessed, modified):
            os.utime(path, (accessed, modified))
            return None
        case ListNames(path):
            return tuple(sorted(os.listdir(path)))
        case ExpandGlob(pattern, recursive):
            return _glob(pattern, recursive, check)
        case StatPath() | ScanDir() | RemoveTree() | CopyTree():
            return _perform_on_tree(effect, check)
        case UnpackTree():
            from transports.host.archives import unpack

            return unpack(effect, check)
        case _:
            assert_never(effect)


def _perform_on_tree(effect: StatPath | ScanDir | RemoveTree | CopyTree, check: Cancellation) -> object:
    # Imported late, as archives are: both are large, and a slave that waits for work should be small.
    from transports.host.trees import copy_tree, info_of, remove_tree, scan

    match effect:
        case StatPath(path):
            return info_of(os.stat(path))
        case ScanDir(path):
            return scan(path, check)
        case RemoveTree(path):
            return remove_tree(path, check)
        case CopyTree(source, target):
            return copy_tree(source, target, check)
        case _:
            assert_never(effect)


def _read_dir(path: str) -> dict[str, bytes]:
    contents = {}
    if os.path.isdir(path):
        for name in sorted(os.listdir(path)):
            full = os.path.join(path, name)
            # A file that cannot be read must not keep the others from being read.
            with contextlib.suppress(PermissionError, FileNotFoundError):
                if os.path.isfile(full):
                    with open(full, "rb") as file:
                        contents[name] = file.read()
    return contents


def _stamp(path: str) -> FileStamp | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return FileStamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _create_temp(path: str) -> str:
    directory, name = os.path.split(path)
    os.makedirs(directory, exist_ok=True)
    _check_replaceable(path)
    while True:
        # Cut, so that the longest name leaves room for the rest.
        temp = os.path.join(directory, f".{name[:40]}.{os.urandom(6).hex()}.part")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            return temp


def _check_replaceable(path: str) -> None:
    """Raise OSError for a path that must not be replaced: a directory, a device."""
    with contextlib.suppress(FileNotFoundError):
        mode = disk.mode_of(os.lstat(path))
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            raise FileExistsError(errno.EEXIST, "not a regular file", path)


def _place(path: str, target: str, mode: int | None) -> None:
    _check_replaceable(target)
    disk.finish(path, mode)
    disk.replace(path, target)


def _remove(path: str) -> bool:
    try:
        disk.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _glob(pattern: str, recursive: bool, check: Cancellation) -> tuple[str, ...]:
    import glob

    found = []
    for path in glob.iglob(pattern, recursive=recursive):
        check()
        found.append(path)
    return tuple(sorted(found))
