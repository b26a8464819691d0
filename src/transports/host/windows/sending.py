"""Sending on Windows, which does not tell what a socket keeps."""

from __future__ import annotations


def unacknowledged(descriptor: int) -> int:
    """Return 0: what the system has taken counts as arrived."""
    return 0
