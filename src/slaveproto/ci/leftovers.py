"""Temporary files and trees of uploads that a master which was killed left beside their targets.

Nothing is removed but what the next upload to the same target would have been called, and what appeared after the step
that was under way began: a clock that was set back in between leaves it there.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator

from slaveproto.master.steps import AnyStep, UploadDirectory, UploadFile
from transports.host.cancelling import Cancellation

GRAIN = 2.0
"""Seconds by which a file system's times may be older than the clock's."""


def target_of(step: AnyStep) -> str | None:
    """Return the path on the master that a step writes to; None if there is none."""
    return step.dest if isinstance(step, UploadFile | UploadDirectory) else None


def remove(target: str, since: float) -> list[str]:
    """Remove what uploads to `target` left since a moment, in seconds since 1970; returns the paths."""
    # The first use of it may be long after the start, or never.
    from transports.host.trees import remove_tree

    removed = []
    for path in _leftovers(target, since):
        if not remove_tree(path, Cancellation(None)):
            removed.append(path)
    return removed


def _leftovers(target: str, since: float) -> Iterator[str]:
    folder, name = os.path.split(target)
    # As `transports.host` names a file, an archive and a tree.
    names = "|".join(re.escape(full[:40]) for full in (name, f"{name}.archive"))
    pattern = re.compile(rf"\.(?:{names})\.[0-9a-f]{{12}}\.part")
    with contextlib.suppress(OSError):
        for found in sorted(filter(pattern.fullmatch, os.listdir(folder or "."))):
            path = os.path.join(folder, found)
            info = os.lstat(path)
            if info.st_ctime >= since - GRAIN and (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
                yield path
