"""Steps beyond their limits: the master interrupts what slaves know no limit for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import pytest

from slaveproto.effects import WriteFile
from slaveproto.master import (
    AnyStep,
    CopyDirectory,
    DownloadFile,
    DownloadString,
    Glob,
    InterruptStep,
    ListDirectory,
    MakeDirectory,
    RemoveDirectory,
    RemoveFile,
    Result,
    Shell,
    StatFile,
    UploadDirectory,
    UploadFile,
)
from slaveproto.master.command import PATIENCE
from slaveproto.master.peer import HIGH_WATER
from tests.master.running import GENERATIONS, Building
from tests.master.support import is_open, nothing_left

STEPS: Final[Mapping[str, AnyStep]] = {
    "mkdir": MakeDirectory(dir="x"),
    "rmfile": RemoveFile(path="x"),
    "stat": StatFile(file="x"),
    "glob": Glob(pattern="x"),
    "listdir": ListDirectory(dir="x"),
    "upload": UploadFile(src="x", dest="/m/x"),
    "upload_dir": UploadDirectory(src="x", dest="/m/x"),
    "download": DownloadFile(src="/m/f", dest="x"),
    "download_string": DownloadString(data=b"abc", dest="x"),
}
"""Steps that slaves know no limit for."""


def building_with_file(generation: str = "4.3") -> Building:
    building = Building(generation)
    building.host.write("/m/f", b"abc")
    return building


@pytest.mark.parametrize("limit", ["timeout", "max_time"])
@pytest.mark.parametrize("name", STEPS)
def test_every_step_has_limits(name: str, limit: str) -> None:
    building = building_with_file()
    limits: dict[str, Any] = {limit: 20.0}
    command = building.run(attrs.evolve(STEPS[name], **limits))
    building.driver.advance(19.9)
    assert command.interrupts == []
    building.driver.advance(0.2)
    why = "nothing came for 20 s" if limit == "timeout" else "not over within 20 s"
    assert command.interrupts == [why]
    command.finish(1)
    assert (building.outcome.result, building.outcome.why) == (Result.FAILURE, why)
    assert f"command timed out: {why}\n".encode() in building.text("header")
    building.driver.advance(60)
    assert is_open(building.driver, building.slave)
    building.run(Shell(command="true")).finish()
    assert nothing_left(building.driver)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_is_over_in_time_has_no_limit_left(name: str) -> None:
    building = building_with_file()
    before = building.driver.session.census["timers"]
    building.run(attrs.evolve(STEPS[name], timeout=20.0, max_time=20.0)).finish(1)
    assert building.driver.session.census["timers"] == before
    building.run(STEPS[name])
    assert building.driver.session.census["timers"] == before


@pytest.mark.parametrize("generation", GENERATIONS)
def test_whatever_comes_counts(generation: str) -> None:
    building = Building(generation)
    command = building.run(UploadFile(src="x", dest="/m/x", timeout=20.0))
    for _ in range(5):
        building.driver.advance(15)
        building.slave.call(command.object("writer"), "write", b"x")
    building.driver.advance(15)
    command.update({"stderr": "still here"})
    building.driver.advance(19)
    assert command.interrupts == []
    building.driver.advance(2)
    assert command.interrupts == ["nothing came for 20 s"]


def test_a_download_that_is_read_counts() -> None:
    building = Building()
    command = building.run(DownloadString(data=b"x" * 100, dest="x", timeout=20.0, max_time=50.0))
    for _ in range(3):
        building.driver.advance(15)
        assert building.slave.call(command.object("reader"), "read", 1) == b"x"
    assert command.interrupts == []
    building.driver.advance(5)
    assert command.interrupts == ["not over within 50 s"]


def test_a_slave_that_is_not_read_is_not_silent() -> None:
    building = Building()
    building.hold(WriteFile)
    command = building.run(UploadFile(src="x", dest="/m/x", timeout=20.0))
    writer = command.object("writer")
    for _ in range(HIGH_WATER // 500_000 + 1):
        building.slave.ask(writer, "write", bytes(500_000))
    building.driver.advance(100)
    assert command.interrupts == []
    building.driver.perform_held()
    building.driver.advance(41)
    assert command.interrupts == ["nothing came for 20 s"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_slave_that_does_not_end_it_loses_its_connection(generation: str) -> None:
    building = Building(generation)
    building.run(UploadFile(src="x", dest="/m/x", max_time=20.0))
    building.driver.advance(20 + PATIENCE - 0.1)
    assert building.running
    building.driver.advance(0.2)
    assert (building.outcome.result, building.outcome.why) == (Result.FAILURE, "not over within 20 s")
    assert not is_open(building.driver, building.slave)


def test_an_interruption_that_has_no_effect_has_an_end_too() -> None:
    building = Building()
    command = building.run(UploadFile(src="x", dest="/m/x", max_time=20.0))
    building.driver.handle(InterruptStep(1, "enough"))
    building.driver.advance(20 + PATIENCE)
    assert command.interrupts == ["enough"]
    assert (building.outcome.result, building.outcome.why) == (Result.CANCELLED, "enough")


@pytest.mark.parametrize(
    "step", [RemoveDirectory(dirs=("x",), max_time=20.0), CopyDirectory(source="x", dest="y", max_time=20.0)]
)
def test_the_limit_of_the_slave_comes_first(step: RemoveDirectory | CopyDirectory) -> None:
    building = Building()
    command = building.run(step)
    arguments = command.arguments
    assert (arguments["maxTime"], arguments["timeout"]) == (20.0, 120)
    building.driver.advance(20 + PATIENCE - 0.1)
    assert command.interrupts == []
    building.driver.advance(0.2)
    assert command.interrupts == ["not over within 20 s"]


def test_the_limits_of_a_command_are_the_slaves() -> None:
    building = Building()
    command = building.run(Shell(command="true", timeout=20.0, max_time=20.0))
    building.driver.advance(100)
    assert command.interrupts == []
