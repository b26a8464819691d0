"""Removing a tree, path by path. Links are never followed."""

from __future__ import annotations

import functools
import os
import stat

from transports.host.cancelling import Cancellation, Problems
from transports.host.windows import disk


def remove(path: str, check: Cancellation) -> tuple[str, ...]:
    """Remove `path` and all in it; return what could not be removed.

    Raises:
        OSError: cancelled.
    """
    problems = Problems()
    # A stack instead of calls, for trees may be deep. A directory comes again when its content is removed, with the
    # number of problems there were before.
    todo: list[tuple[str, int | None]] = [(path, None)]
    while todo:
        here, before = todo.pop()
        check()
        try:
            if before is not None:
                if problems.count == before:
                    disk.forced(here, functools.partial(os.rmdir, here))
            elif stat.S_ISDIR(disk.mode_of(os.lstat(here))):
                names = os.listdir(here)
                todo.append((here, problems.count))
                todo += [(os.path.join(here, name), None) for name in names]
            else:
                disk.unlink(here)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            problems.add(error, here)
    return tuple(problems.lines)
