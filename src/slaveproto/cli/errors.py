"""Mistakes of whoever calls the program."""

from __future__ import annotations


class UsageError(Exception):
    """The program was called wrongly; the message is one line, the exit code 2."""
