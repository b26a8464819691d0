"""Amounts in words, as logs of slaves and relays have them."""

from __future__ import annotations


def size_words(number: int) -> str:
    """Return a number of bytes in words."""
    for unit, size in (("MB", 10**6), ("KB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"


def span_words(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
