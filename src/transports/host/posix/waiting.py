"""Waiting on POSIX: the longest wait of a thread, and a selector that can be waited for."""

from __future__ import annotations

import math
import selectors
import sys
from typing import Final

assert sys.platform != "win32"

LONGEST_WAIT: Final = math.inf
"""Seconds that the main thread may wait in one piece and still hear signals."""


def common_selector() -> tuple[selectors.BaseSelector, int] | None:
    """Return a new selector, and the descriptor that can be read as long as one of its sockets is ready."""
    selector = selectors.DefaultSelector()
    return selector, selector.fileno()
