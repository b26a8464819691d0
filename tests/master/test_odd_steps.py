"""Steps that no table knows: subclasses of the types of steps, and values that are no step."""

from __future__ import annotations

from typing import Any, cast

import attrs
import pytest

from slaveproto.master import (
    EndBuild,
    MakeDirectory,
    Result,
    Shell,
    StartBuild,
    StartStep,
    Step,
    StepFinished,
)
from slaveproto.testing import MasterDriver
from tests.master.support import nothing_left


@attrs.frozen(kw_only=True)
class MakeOut(MakeDirectory):
    """A step of a user's own."""

    dir: str = "out"


@attrs.frozen(kw_only=True)
class NoStep(Step):
    """A step that says nothing of what it does."""


class Broken(Shell):
    """A step that breaks when it is translated."""

    def __getattribute__(self, name: str) -> Any:
        if name == "use_pty":
            raise ZeroDivisionError("on purpose")
        return super().__getattribute__(name)


def test_a_subclass_of_a_step_is_that_step() -> None:
    driver = MasterDriver()
    slave = driver.connect("4.3")
    driver.handle(StartBuild(1, "bot1", "linux"))
    driver.handle(StartStep(1, 1, MakeOut()))
    assert slave.command.name == "mkdir"
    assert slave.command.arguments["dir"] == "build/out"
    slave.command.update({"rc": 0})
    slave.command.finish()
    assert [event.outcome.result for event in driver.events_of(StepFinished)] == [Result.SUCCESS]
    driver.handle(EndBuild(1))
    assert nothing_left(driver)


@pytest.mark.parametrize("what", [NoStep(), Broken(command="make"), "make", None])
def test_what_cannot_be_translated_is_an_exception_and_changes_nothing(what: object) -> None:
    driver = MasterDriver()
    slave = driver.connect("4.3")
    driver.handle(StartBuild(1, "bot1", "linux"))
    driver.handle(StartStep(1, 1, cast("Shell", what)))
    (finished,) = driver.events_of(StepFinished)
    assert finished.outcome.result is Result.EXCEPTION
    assert finished.outcome.why
    # The build goes on.
    driver.handle(StartStep(2, 1, Shell(command="make")))
    slave.command.update({"rc": 0})
    slave.command.finish()
    assert driver.events_of(StepFinished)[-1].outcome.result is Result.SUCCESS
    driver.handle(EndBuild(1))
    assert driver.session.idle_builders("bot1") == ("linux", "mac")
    assert nothing_left(driver)
