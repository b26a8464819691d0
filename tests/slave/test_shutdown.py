"""Ending the slave, from either side, politely or not."""

from __future__ import annotations

import pytest

from slaveproto.effects import CloseConnection, MakeDirs, ReadDir
from slaveproto.inputs import Stop
from slaveproto.slave.events import AskShutdown, CommandFinished, SlaveNotice, Start, Stopped
from slaveproto.slave.states import LinkState
from slaveproto.testing import SessionDriver
from slaveproto.wire import Failure
from tests.slave.support import (
    CONFIG,
    GENERATIONS,
    INFO,
    SHELL,
    attach,
    attached,
    build,
    check_commands,
    events_of,
    finished,
    name,
    newest,
    state_of,
    tasks,
)

KILL = frozenset({"KILL"})


@pytest.mark.parametrize("generation", GENERATIONS)
def test_slave_asks_and_the_master_lets_it_go(generation: str) -> None:
    driver, master = attached(generation)
    driver.handle(AskShutdown())
    assert master.wishes == ["shutdown"]
    assert state_of(driver) is LinkState.LEAVING
    build(driver, master, name(generation, "linux"), start_build=False)
    assert master.call_bot("shutdown") is None
    assert not master.open
    assert driver.events[-1] == Stopped("the master asked for it", False)
    assert finished(driver)


def test_master_that_does_not_know_how_to_let_go() -> None:
    driver, master = attached()
    master.refuses_wishes = Failure("twisted.spread.flavors.NoSuchMethod", "shutdown")
    driver.handle(AskShutdown())
    assert driver.events[-1] == SlaveNotice(
        "the master refused to let us go: twisted.spread.flavors.NoSuchMethod: shutdown"
    )
    assert state_of(driver) is LinkState.LEAVING_ALONE
    build(driver, master, "linux", start_build=False)


@pytest.mark.parametrize("moment", ["connecting", "waiting"])
def test_without_a_master_there_is_nobody_to_ask(moment: str) -> None:
    driver = SessionDriver(CONFIG, INFO)
    driver.reachable = {"connecting": None, "waiting": False}[moment]
    driver.handle(Start())
    driver.handle(AskShutdown())
    assert driver.events[-1] == Stopped("asked to leave, with no master to ask first", False)
    assert finished(driver)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_master_is_asked_as_soon_as_it_let_us_in(generation: str) -> None:
    """It may have begun a build before it answers the login."""
    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    driver.handle(AskShutdown())
    assert state_of(driver) is LinkState.LEAVING_EARLY
    attach(master, generation)
    assert master.wishes == ["shutdown"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_master_stops_a_slave_that_works(generation: str) -> None:
    driver, master = attached(generation)
    driver.host.survives = KILL
    command = master.start_command(name(generation, "linux"), "shell", SHELL)
    assert master.call_bot("shutdown") is None
    assert not finished(driver)
    driver.end(newest(driver))
    assert finished(driver)
    assert command.ends == []
    check_commands(driver)


def test_old_way_by_a_builder() -> None:
    driver, master = attached("0.8")
    assert master.call(master.builders[b"linux"], "shutdown") is None
    assert finished(driver)


def test_what_was_to_be_sent_goes_with_the_end() -> None:
    driver, master = attached()
    driver.listening = False
    master.ask(master.bot, "print", message="last words")  # type: ignore[arg-type]
    driver.handle(Stop("enough"))
    (closing,) = [request.effect for request in driver.requests if isinstance(request.effect, CloseConnection)]
    assert closing.last
    assert driver.session.data_to_send() == b""


@pytest.mark.parametrize("patience", [None, 2])
def test_stop_waits_for_the_children(patience: float | None) -> None:
    driver, master = attached()
    driver.host.survives = frozenset({"KILL", "TERM"})
    for builder in ("linux", "mac"):
        master.start_command(builder, "shell", {**SHELL, "sigtermTime": patience})
    driver.handle(Stop("enough"))
    assert [child.signals for child in driver.host.children.values()] == [["TERM" if patience else "KILL"]] * 2
    assert state_of(driver) is LinkState.STOPPED
    for child in driver.host.children.values():
        assert not finished(driver)
        driver.end(child)
    assert finished(driver)
    assert driver.session.deadline is None
    assert [event.dropped for event in events_of(driver, CommandFinished)] == [True, True]


def test_stop_gives_up_children_that_survive() -> None:
    driver, master = attached()
    driver.host.survives = KILL
    master.start_command("linux", "shell", SHELL)
    driver.handle(Stop("enough"))
    driver.advance(5.0)
    assert newest(driver).abandoned
    assert finished(driver)


def test_second_stop_waits_for_nobody() -> None:
    driver, master = attached()
    driver.host.survives = frozenset({"KILL", "TERM"})
    master.start_command("linux", "shell", {**SHELL, "sigtermTime": 100})
    driver.handle(Stop("enough"))
    assert not finished(driver)
    driver.handle(Stop("now"))
    assert finished(driver)
    assert driver.session.deadline is None
    assert newest(driver).signals[-1] == "KILL"
    assert newest(driver).abandoned
    assert [event.why for event in events_of(driver, Stopped)] == ["enough"]
    # What comes in late is nobody's business any more.
    driver.output(newest(driver), b"still here")
    driver.end(newest(driver))
    assert finished(driver)


def test_second_stop_while_the_host_is_slow() -> None:
    """The reports of what was asked for before still come in; nobody waits for them."""
    driver, master = attached()
    driver.holds = lambda request: isinstance(request.effect, (MakeDirs, ReadDir))
    master.start_command("linux", "shell", SHELL)
    master.ask(master.bot, "getWorkerInfo")  # type: ignore[arg-type]
    driver.handle(Stop("enough"), Stop("now"))
    assert finished(driver)
    driver.perform_held()
    assert finished(driver)
    assert driver.host.children == {}


def test_polite_request_while_stopping_is_no_second_stop() -> None:
    driver, master = attached()
    driver.host.survives = KILL
    master.start_command("linux", "shell", SHELL)
    driver.handle(Stop("enough"), AskShutdown())
    assert not finished(driver)
    assert tasks(driver) == 1
    driver.end(newest(driver))
    assert finished(driver)


def test_second_stop_of_an_idle_slave_is_nothing() -> None:
    driver, _ = attached()
    driver.handle(Stop("enough"))
    before = (list(driver.events), list(driver.requests))
    driver.handle(Stop("again"), AskShutdown())
    assert (driver.events, driver.requests) == before


def test_stop_while_waiting_ends_the_waiting() -> None:
    driver, _ = attached()
    driver.lose_connection()
    driver.handle(Stop("enough"))
    driver.advance(1e6)
    assert len(driver.masters) == 1
    assert finished(driver)
