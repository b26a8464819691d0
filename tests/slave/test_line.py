"""Builds that outlive the link: a slave whose line to the master is a stream."""

from __future__ import annotations

import pytest

from slaveproto.inputs import Stop
from slaveproto.slave.events import AskShutdown, Attached, CommandFinished, Detached, LineBack, LineLost, Stopped
from slaveproto.slave.line import POLICY
from slaveproto.slave.session import HIGH_WATER, SlaveSession
from slaveproto.testing import SessionDriver
from slaveproto.testing.memory_host import MemoryChild
from slaveproto.testing.scripted_master import MasterCommand
from slaveproto.wire import Value
from tests.slave.lasting import LastingDriver

BUILDERS = [("b", "b")]
SHELL: dict[str, Value] = {"command": ["make"], "workdir": "build", "logEnviron": False}


def attached(driver: LastingDriver) -> None:
    driver.start()
    driver.master.attach_as_4x(BUILDERS)
    assert isinstance(driver.events[-1], Attached) or any(isinstance(event, Attached) for event in driver.events)


def begin(driver: LastingDriver) -> tuple[MemoryChild, MasterCommand]:
    command = driver.master.start_command("b", "shell", SHELL)
    return list(driver.host.children.values())[-1], command


def kinds(driver: SessionDriver) -> list[type]:
    return [type(event) for event in driver.events]


def test_a_build_outlives_its_link() -> None:
    driver = LastingDriver()
    attached(driver)
    child, command = begin(driver)
    driver.output(child, b"before\n")
    driver.reachable = False
    driver.cut()
    driver.output(child, b"meanwhile\n")
    driver.advance(240)
    assert [event for event in driver.events if isinstance(event, LineLost)] != []
    assert LineBack not in kinds(driver)
    driver.reachable = True
    driver.advance(31)
    assert LineBack in kinds(driver)
    driver.output(child, b"after\n")
    driver.end(child)
    driver.settle()
    assert command.text("stdout") == "before\nmeanwhile\nafter\n"
    assert Detached not in kinds(driver)
    assert len(driver.masters) == 1
    assert not child.signals


@pytest.mark.parametrize("after", range(0, 1200, 67))
def test_a_cut_at_any_byte_loses_nothing(after: int) -> None:
    driver = LastingDriver()
    attached(driver)
    driver.cut_after = after
    child, command = begin(driver)
    for number in range(20):
        driver.output(child, b"line %d\n" % number)
    driver.end(child)
    driver.advance(5)
    assert command.text("stdout") == "".join(f"line {number}\n" for number in range(20))
    assert len(driver.masters) == 1
    assert driver.connections == (1 if driver.cut_after is not None else 2)
    assert [event.rc for event in driver.events if isinstance(event, CommandFinished)] == [0]


def test_a_dead_connection_is_replaced() -> None:
    driver = LastingDriver()
    attached(driver)
    child, command = begin(driver)
    driver.dead = True
    driver.output(child, b"lost?\n")
    driver.advance(29)
    assert LineLost not in kinds(driver)
    driver.advance(POLICY.silence - 28)
    driver.dead = False
    driver.settle()
    assert LineBack in kinds(driver)
    assert command.text("stdout") == "lost?\n"


def test_a_master_that_stays_away_ends_the_line() -> None:
    driver = LastingDriver()
    attached(driver)
    child, _ = begin(driver)
    driver.reachable = False
    driver.cut()
    driver.advance(POLICY.patience - 1)
    assert Detached not in kinds(driver)
    driver.advance(2)
    assert Detached in kinds(driver)
    assert child.signals
    driver.reachable = True
    driver.advance(400)
    assert len(driver.masters) == 2


def test_a_server_that_forgot_the_stream_ends_the_line_at_once() -> None:
    driver = LastingDriver()
    attached(driver)
    child, _ = begin(driver)
    driver.server.abort(driver.stream, "restarted")
    while driver.server.next_event() is not None:
        pass
    driver.cut()
    driver.advance(1)
    (lost,) = [event for event in driver.events if isinstance(event, Detached)]
    assert "not known" in lost.why
    assert child.signals


def test_output_waits_up_to_the_bound_while_there_is_no_link() -> None:
    driver = LastingDriver()
    attached(driver)
    child, command = begin(driver)
    driver.reachable = False
    driver.cut()
    block = b"x" * 99 + b"\n"
    sent = 0
    while not driver.session.congested and sent < 2 * POLICY.kept:
        driver.output(child, block * 5000)
        sent += len(block) * 5000
    assert POLICY.kept < sent < POLICY.kept + 4 * HIGH_WATER
    driver.reachable = True
    driver.advance(31)
    assert not driver.session.congested
    driver.end(child)
    driver.settle()
    assert len(command.text("stdout")) == sent


@pytest.mark.parametrize("cut", [False, True])
def test_a_stop_is_told_at_once(cut: bool) -> None:
    driver = LastingDriver()
    attached(driver)
    child, _ = begin(driver)
    if cut:
        driver.reachable = False
        driver.cut()
    driver.handle(Stop("enough"))
    assert Stopped in kinds(driver)
    assert child.signals
    assert driver.master.open is cut


def test_leaving_during_a_cut_asks_when_the_link_is_back() -> None:
    driver = LastingDriver()
    attached(driver)
    child, command = begin(driver)
    driver.reachable = False
    driver.cut()
    driver.handle(AskShutdown("enough"))
    driver.advance(60)
    driver.reachable = True
    driver.advance(31)
    assert driver.master.wishes
    driver.end(child)
    driver.settle()
    assert command.ends


def test_the_end_of_the_masters_direction_ends_the_line() -> None:
    driver = LastingDriver()
    attached(driver)
    driver.server.end(driver.stream)
    driver.settle()
    assert Detached in kinds(driver)


def test_a_plain_master_hears_the_same_bytes_as_ever() -> None:
    """And as soon: the offer of streams is a server's."""
    plain, asked = SessionDriver(), SessionDriver()
    asked.session = SlaveSession(asked.config, asked.info, lambda delay: delay, resume=b"r" * 32)
    for driver in (plain, asked):
        heard: list[bytes] = []
        to_master = driver.to_master
        driver.to_master = lambda data, heard=heard, to_master=to_master: (heard.append(data), to_master(data))[1]  # type: ignore[method-assign,misc]
        driver.start()
        driver.master.attach_as_4x(BUILDERS)
        driver.master.start_command("b", "shell", SHELL)
        driver.output(list(driver.host.children.values())[-1], b"hello\n")
        driver.end(list(driver.host.children.values())[-1])
        driver.heard = heard  # type: ignore[attr-defined]
    assert b"".join(plain.heard) == b"".join(asked.heard)  # type: ignore[attr-defined]
    assert plain.events == asked.events
    asked.lose_connection()
    assert isinstance(asked.events[-1], Detached)


def test_a_master_that_is_slow_to_greet_has_as_long_as_ever() -> None:
    driver = SessionDriver()
    driver.session = SlaveSession(driver.config, driver.info, lambda delay: delay, resume=b"r" * 32)
    driver.to_slave = lambda data: None  # type: ignore[method-assign]
    driver.start()
    driver.advance(driver.config.login_silence - 1.0)
    assert Detached not in kinds(driver)
    driver.advance(2.0)
    assert Detached in kinds(driver)
