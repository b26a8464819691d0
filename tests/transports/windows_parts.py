"""The parts for Windows that work on POSIX as well, put in the place of its own."""

from __future__ import annotations

import pytest

import transports.host.archives
import transports.host.files
import transports.host.trees
from transports.host.system import streams, waiting
from transports.host.windows import disk, removal
from transports.host.windows.streams import Streams


def put_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the effects on files performed as on Windows."""
    for module in (transports.host.archives, transports.host.files, transports.host.trees):
        monkeypatch.setattr(module, "disk", disk)
    monkeypatch.setattr(transports.host.trees, "removal", removal)


def put_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the blocking runner read and wait as on Windows, but look much more often."""
    monkeypatch.setattr(streams, "Streams", Streams)
    monkeypatch.setattr(waiting, "LONGEST_WAIT", 0.05)
