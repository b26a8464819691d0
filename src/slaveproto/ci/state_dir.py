"""The directory where the program keeps what it has to remember, for one master at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from slaveproto.ci.errors import UsageError, of_path


@contextlib.contextmanager
def lock(path: str) -> Iterator[None]:
    """Make the directory if need be, and keep others out of it.

    Raises:
        UsageError: another one is in it, or it cannot be made.
        CannotStore: there is no room.
    """
    try:
        _make(path)
        descriptor = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise of_path(error, error.filename or path) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except BlockingIOError:
            owner = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            raise UsageError(f"{path}: in use by another slaveproto, process {owner}") from None
        except OSError as error:
            raise of_path(error, path, "cannot be locked: ") from None
        yield
    finally:
        os.close(descriptor)


def _make(path: str) -> None:
    if not os.path.isdir(path):
        os.makedirs(path, mode=0o700)
        # It may lie among the sources of a project.
        with open(os.path.join(path, ".gitignore"), "w", encoding="ascii") as file:
            file.write("*\n")
