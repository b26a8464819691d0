"""Mistakes in a call of the program."""

from __future__ import annotations


class UsageError(Exception):
    """The program was called wrongly; the message is shown as one line, the exit code is 2."""
