"""What the tests of the CI server share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A program that ends ignores signals, so that none decides its exit code; a process of tests goes on."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
