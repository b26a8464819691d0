"""Steps that the program no longer waits for."""

from __future__ import annotations

from typing import Final

import pytest

from slaveproto.effects import PlaceFile, Stat
from slaveproto.master import (
    AbandonStep,
    DownloadFile,
    EndBuild,
    Outcome,
    Result,
    Shell,
    SlaveDetached,
    StartStep,
    StepFinished,
    StepSpoke,
    UploadFile,
)
from slaveproto.master.command import ABANDONED
from tests.master.running import BUILD, GENERATIONS, Building
from tests.master.support import is_open, nothing_left

SHELL: Final = Shell(command=("make",))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_it_is_interrupted_and_ends(generation: str) -> None:
    building = Building(generation)
    command = building.run(SHELL)
    building.driver.handle(AbandonStep(1))
    assert command.interrupts == [ABANDONED]
    assert building.running
    command.finish(1)
    assert (building.outcome.result, building.outcome.why) == (Result.CANCELLED, ABANDONED)
    assert building.driver.session.census["steps"] == 0
    # There is no timer left that would end the connection.
    building.driver.advance(60)
    assert is_open(building.driver, building.slave)
    building.run(SHELL).finish()
    assert building.outcome.result is Result.SUCCESS
    assert nothing_left(building.driver)


def test_its_output_is_dropped() -> None:
    building = Building()
    driver = building.driver
    driver.takes_output = False
    command = building.run(SHELL)
    command.update({"stdout": "x" * 1000})
    assert building.unread > 1000
    driver.handle(AbandonStep(1))
    assert building.unread == 0
    spoken = len(driver.events_of(StepSpoke))
    command.update({"stdout": "y" * 1000})
    command.finish(1)
    assert len(driver.events_of(StepSpoke)) == spoken
    assert (building.unread, driver.session.output(1)) == (0, [])
    assert nothing_left(driver)


def test_a_slave_that_does_not_end_it_in_time_is_given_up() -> None:
    building = Building()
    building.run(SHELL)
    building.driver.handle(AbandonStep(1, patience=5.0))
    building.driver.advance(4.9)
    assert is_open(building.driver, building.slave)
    # The first one counts.
    building.driver.handle(AbandonStep(1, patience=100.0))
    building.driver.advance(0.2)
    assert not is_open(building.driver, building.slave)
    assert building.outcome.result is Result.CANCELLED
    assert building.driver.events_of(SlaveDetached)[0].why == "it did not end an interrupted step"
    building.driver.handle(EndBuild(BUILD))
    assert nothing_left(building.driver)


def test_a_slave_that_goes_on_talking_is_given_up_all_the_same() -> None:
    building = Building()
    command = building.run(SHELL)
    building.driver.handle(AbandonStep(1))
    for _ in range(9):
        building.driver.advance(1)
        command.update({"stdout": "still here\n"})
    assert is_open(building.driver, building.slave)
    building.driver.advance(1)
    assert not is_open(building.driver, building.slave)
    assert nothing_left(building.driver)


def test_what_is_over_leaves_no_output() -> None:
    building = Building()
    building.driver.takes_output = False
    building.run(SHELL).finish()
    assert building.driver.session.census["steps"] == 1
    building.driver.handle(AbandonStep(1), AbandonStep(1), AbandonStep(77))
    assert building.driver.session.census["steps"] == 0
    assert len(building.outcomes()) == 1
    assert nothing_left(building.driver)


def test_it_was_interrupted_before() -> None:
    building = Building()
    command = building.run(SHELL)
    building.driver.handle(AbandonStep(1))
    building.driver.advance(3)
    command.finish(1)
    building.driver.handle(StartStep(2, BUILD, SHELL), AbandonStep(2))
    # The second one has ten seconds of its own.
    building.driver.advance(9.9)
    assert is_open(building.driver, building.slave)
    building.driver.advance(0.2)
    assert not is_open(building.driver, building.slave)
    assert nothing_left(building.driver)


def test_while_its_source_is_looked_for() -> None:
    building = Building()
    building.hold(Stat)
    building.host.write("/m/a", b"abc")
    building.start(DownloadFile(src="/m/a", dest="a"))
    building.driver.handle(AbandonStep(1))
    building.driver.perform_held()
    assert building.outcome.result is Result.CANCELLED
    assert building.slave.commands == []
    assert nothing_left(building.driver)


def test_while_its_file_is_put_in_its_place() -> None:
    building = Building()
    building.hold(PlaceFile)
    command = building.run(UploadFile(src="a", dest="/m/a"))
    writer = command.object("writer")
    building.slave.call(writer, "write", b"abc")
    building.slave.call(writer, "close")
    command.finish()
    building.driver.handle(AbandonStep(1))
    assert building.running
    building.driver.perform_held()
    # It was on its way, and could not be stopped.
    assert (building.outcome.result, building.host.read("/m/a")) == (Result.SUCCESS, b"abc")
    assert nothing_left(building.driver)


def test_lost_with_its_slave() -> None:
    building = Building()
    building.run(SHELL)
    building.driver.handle(AbandonStep(1))
    building.driver.lose(building.slave)
    (outcome,) = [event.outcome for event in building.driver.events_of(StepFinished)]
    assert isinstance(outcome, Outcome)
    assert outcome.result is Result.CANCELLED
    assert nothing_left(building.driver)
