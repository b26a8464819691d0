"""Steps whose slave does not end them: they have an end, and a slave that is only slow has its time."""

from __future__ import annotations

import pytest

from slaveproto.master import InterruptStep, MakeDirectory, Outcome, Result, Shell
from slaveproto.master.command import GRACE
from tests.master.running import GENERATIONS, Building

SILENT = "nothing was heard of it for 1200 s, and the slave did not end it"
TOLD = f"the slave told its exit code, and not that it is over, for {GRACE:g} s"


def building(generation: str = "4.3") -> Building:
    """Return a build whose slave is asked for no sign of life: only its step is looked at."""
    return Building(generation, frozenset(), keepalive=0.0)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("step", [Shell(command="true", timeout=None), MakeDirectory(dir="d")])
def test_an_exit_code_and_nothing_more(step: Shell | MakeDirectory, generation: str) -> None:
    it = building(generation)
    command = it.run(step)
    it.driver.advance(100_000)
    command.update({"rc": 0})
    it.driver.advance(GRACE - 1)
    # Each word puts it off.
    command.update({"elapsed": 1.0})
    it.driver.advance(GRACE - 1)
    assert not command.interrupts
    it.driver.advance(2)
    assert command.interrupts == [TOLD]
    assert it.running
    it.driver.advance(GRACE)
    assert (it.outcome.result, it.outcome.why, it.attached) == (Result.EXCEPTION, TOLD, False)


def test_it_ends_after_all() -> None:
    it = building()
    command = it.run(Shell(command="true"))
    command.update({"rc": 0})
    it.driver.advance(GRACE)
    command.complete()
    assert (it.outcome.result, it.outcome.why, it.attached) == (Result.EXCEPTION, TOLD, True)
    it.run(Shell(command="true")).finish()
    assert it.outcome.result is Result.SUCCESS
    it.driver.advance(10 * GRACE)
    assert it.attached


LATE: dict[str, tuple[Shell, float, str]] = {
    "timeout": (Shell(command="x"), 1200 + GRACE, SILENT),
    "max_time": (
        Shell(command="x", timeout=None, max_time=50),
        50 + GRACE,
        "it ran for more than 50 s, and the slave did not end it",
    ),
    "both": (
        Shell(command="x", max_time=50, sigterm_time=30),
        50 + GRACE + 30,
        "it ran for more than 50 s, and the slave did not end it",
    ),
}


@pytest.mark.parametrize("case", LATE)
def test_a_slave_that_does_not_keep_its_limits(case: str) -> None:
    step, due, why = LATE[case]
    it = building()
    command = it.run(step)
    it.driver.advance(due - 1)
    assert not command.interrupts
    it.driver.advance(2)
    assert command.interrupts == [why]
    it.driver.advance(GRACE + 30)
    assert (it.outcome.result, it.outcome.why, it.attached) == (Result.EXCEPTION, why, False)


def test_output_puts_off_the_timeout_and_not_max_time() -> None:
    it = building()
    command = it.run(Shell(command="x", max_time=3000))
    for _ in range(6):
        it.driver.advance(500)
        command.update({"stdout": "x"})
    assert not command.interrupts
    it.driver.advance(GRACE)
    assert command.interrupts == ["it ran for more than 3000 s, and the slave did not end it"]


@pytest.mark.parametrize(
    "step",
    [
        Shell(command="x", timeout=None),
        # Its process may write, and the slave is right to wait.
        Shell(command="x", want_stdout=False),
        MakeDirectory(dir="d"),
    ],
)
def test_what_has_no_limit_may_take_any_time(step: Shell | MakeDirectory) -> None:
    it = building()
    command = it.run(step)
    it.driver.advance(1_000_000)
    assert it.running
    assert not command.interrupts
    command.finish()
    assert it.outcome.result is Result.SUCCESS


def test_a_slave_that_is_not_read_is_not_late() -> None:
    it = building()
    it.driver.takes_output = False
    command = it.run(Shell(command="x", timeout=10, max_time=100))
    for _ in range(20):
        command.raw_update([[{"stdout": "x" * 60_000}, 0]])
    it.driver.advance(100_000)
    assert not command.interrupts
    it.driver.take_output()
    it.driver.advance(GRACE)
    assert command.interrupts


def test_a_slave_that_does_not_end_what_was_interrupted() -> None:
    it = building()
    command = it.run(Shell(command="x", timeout=None))
    it.driver.handle(InterruptStep(it.step, "enough"))
    it.driver.advance(GRACE - 1)
    command.update({"stdout": "cleaning up\n"})
    it.driver.advance(GRACE - 1)
    assert it.attached
    it.driver.advance(2)
    expected = Outcome(Result.CANCELLED, None, "enough", {}, 2 * GRACE - 1)
    assert (it.outcome, it.attached) == (expected, False)
