"""Tests of the cost of one input for a slave that runs many commands."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from slaveproto.effects import ProcessOutput
from slaveproto.inputs import Wakeup
from slaveproto.slave.events import Input
from slaveproto.testing import SessionDriver
from tests.slave.support import CONFIG, INFO, SHELL, newest

MOST_CALLS = 60
"""Calls of Python functions for an input that concerns no command, and for all that a runner then looks at."""

MOST_CALLS_FOR_OUTPUT = 80
"""The same for output that one command takes in; half of them are its script and its update stream."""


def calls_of(driver: SessionDriver, item: Input) -> int:
    """Return how many Python functions are called for an input, and for all that a runner then looks at."""
    calls = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    session = driver.session
    sys.setprofile(count)
    try:
        session.handle(item, now=driver.now)
        session.requests()
        session.congested  # noqa: B018  a property
        session.deadline  # noqa: B018
        session.next_event()
        session.data_to_send()
    finally:
        sys.setprofile(None)
    return calls


def running(count: int) -> SessionDriver:
    """Return a slave that runs `count` commands, all of which wrote something."""
    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    names = [f"b{number}" for number in range(count)]
    master.attach_as_4x([(name, name) for name in names])
    for name in names:
        master.start_command(name, "shell", {**SHELL, "timeout": 1200, "maxTime": 3600})
        driver.output(newest(driver), b"hello\n")
    driver.advance(1.0)
    return driver


@pytest.mark.parametrize("count", [1, 10, 100])
def test_an_input_costs_the_same_however_many_commands_run(count: int) -> None:
    driver = running(count)
    assert calls_of(driver, Wakeup()) <= MOST_CALLS
    assert calls_of(driver, ProcessOutput(newest(driver).number, "stdout", b"more\n")) <= MOST_CALLS_FOR_OUTPUT
