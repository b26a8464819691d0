"""Messages of the program: one line each, and lost without harm where they cannot be written."""

from __future__ import annotations

import contextlib
import os
from typing import Final

STDOUT: Final = 1
STDERR: Final = 2


def one_line(text: str) -> str:
    """Return `text` with whatever cannot be printed in one line escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def say(descriptor: int, text: str) -> None:
    """Write a line. It passes by Python's buffer, which would bring up at the exit what could not be written."""
    write_all(descriptor, f"{one_line(text)}\n".encode())


def write_all(descriptor: int, data: bytes) -> None:
    """Write bytes, as far as they can be written."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]
