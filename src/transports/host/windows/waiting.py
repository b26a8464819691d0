"""Waiting on Windows: the longest wait of a thread, and no selector that can be waited for."""

from __future__ import annotations

import selectors
from typing import Final

LONGEST_WAIT: Final = 1.0
"""Seconds that the main thread may wait in one piece and still hear signals: while it waits it hears none."""


def common_selector() -> tuple[selectors.BaseSelector, int] | None:
    """Return None: here a selector is nothing that can be waited for."""
    return None
