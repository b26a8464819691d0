"""A master's port, and each of the runners."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slaveproto.testing.conformance import MasterSocket, StartSlave
from tests.transports.support import RUNNERS
from transports.host import sockets


@pytest.fixture
def listener() -> Iterator[MasterSocket]:
    with MasterSocket() as listener:
        yield listener


@pytest.fixture(params=list(RUNNERS))
def runner(request: pytest.FixtureRequest) -> str:
    """The name of a runner."""
    name: str = request.param
    return name


@pytest.fixture
def start(runner: str) -> StartSlave:
    """What starts a session with that runner."""
    return RUNNERS[runner]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Last bytes that nobody reads would take five seconds."""
    monkeypatch.setattr(sockets, "LINGER", 0.5)
