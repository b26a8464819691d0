"""One slave and its master."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transports.scripted_master import Listener, Master
from tests.transports.support import Slave, running_slave


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


@pytest.fixture
def slave(listener: Listener, tmp_path: Path) -> Iterator[Slave]:
    with running_slave(listener.port, tmp_path) as slave:
        yield slave


@pytest.fixture
def master(listener: Listener, slave: Slave) -> Iterator[Master]:
    """A master with the slave attached, which has a builder `b`."""
    with listener.attach("b") as master:
        yield master
