"""The parts for Windows that work on POSIX as well, put in the place of its own."""

from __future__ import annotations

import pytest

import transports.archives
import transports.files
import transports.trees
from transports.system import streams, waiting
from transports.windows import disk, removal
from transports.windows.streams import Streams


def put_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the effects on files performed as on Windows."""
    for module in (transports.archives, transports.files, transports.trees):
        monkeypatch.setattr(module, "disk", disk)
    monkeypatch.setattr(transports.trees, "removal", removal)


def put_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the blocking runner read and wait as on Windows, but look much more often."""
    monkeypatch.setattr(streams, "Streams", Streams)
    monkeypatch.setattr(waiting, "LONGEST_WAIT", 0.05)
