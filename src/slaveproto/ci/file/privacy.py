"""Files with passwords or keys that other users of the host can read: told at the start, never refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Final

_OTHERS: Final = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


def exposed(paths: Iterable[str]) -> Iterator[str]:
    """Return a line for each file that its group or others can read or change. Windows has no such bits."""
    for path in dict.fromkeys(paths):
        try:
            mode = os.stat(path).st_mode
        except OSError:
            # What needs the file has complained, or will.
            continue
        if os.name != "nt" and stat.S_ISREG(mode) and mode & _OTHERS:
            yield (
                f"{path} holds a password or a key, and other users may read or change it "
                f"(mode {stat.S_IMODE(mode):04o}); chmod 600 keeps it private"
            )
