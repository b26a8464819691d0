"""How long a thread may wait."""

from __future__ import annotations

import math
from typing import Final

LONGEST_WAIT: Final = math.inf
"""Seconds that the main thread may wait in one piece and still hear signals."""
