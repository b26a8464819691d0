"""Cancellation of file effects that take long, and the problems that they report."""

from __future__ import annotations

import errno
import os
import threading
from typing import Final

import attrs

from slaveproto.records import record

MOST_PROBLEMS: Final = 100


@record
class Cancellation:
    """Raises ECANCELED once the event is set; to be called every now and then."""

    event: threading.Event | None

    def __call__(self) -> None:
        if self.event is not None and self.event.is_set():
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))


@attrs.define
class Problems:
    """Problems on the way, for people. Being cancelled is none."""

    lines: list[str] = attrs.field(factory=list)
    count: int = 0

    def add(self, error: OSError, path: str) -> None:
        """Keep what went wrong with `path`; raises the error if it is that of a cancellation."""
        if error.errno == errno.ECANCELED:
            raise error
        self.note(f"{path}: {error.strerror}")

    def note(self, line: str) -> None:
        """Keep a line of text."""
        self.count += 1
        if len(self.lines) < MOST_PROBLEMS:
            self.lines.append(line)
