"""The effects on files, each as one blocking call. Every runner uses these."""

from __future__ import annotations

import contextlib
import os
import stat

from slaveproto.effects import FileStamp, ListDir, MakeDirs, ReadDir, ReadFile, StatFile

FileEffect = MakeDirs | ListDir | ReadDir | StatFile | ReadFile


def perform(effect: FileEffect) -> object:
    """Perform an effect and return its reply.

    Raises:
        OSError: it could not be performed.
    """
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
        case StatFile(path):
            return _stamp(path)
        case ReadFile(path, offset, size):
            with open(path, "rb", buffering=0) as file:
                file.seek(offset)
                return file.read(size)


def _read_dir(path: str) -> dict[str, bytes]:
    contents = {}
    if os.path.isdir(path):
        for name in sorted(os.listdir(path)):
            full = os.path.join(path, name)
            # One that cannot be read must not take the others with it.
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
