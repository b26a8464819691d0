"""How long a thread may wait."""

from __future__ import annotations

from typing import Final

LONGEST_WAIT: Final = 1.0
"""Seconds that the main thread may wait in one piece and still hear signals: while it waits it hears none."""
