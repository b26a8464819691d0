"""A slave that leaves: no new build, the end of what runs, and an end of the waiting for it."""

from __future__ import annotations

import pytest

from slaveproto.inputs import Stop
from slaveproto.slave.events import AskShutdown, CommandFinished, Detached, Leaving, SlaveNotice, Start, Stopped
from slaveproto.slave.session import GRACE, LAST_MOMENTS
from slaveproto.slave.states import LinkState
from slaveproto.testing import ScriptedMaster, SessionDriver
from slaveproto.testing.scripted_end import CallRefused
from slaveproto.wire import Failure, Value
from tests.slave.support import (
    CONFIG,
    GENERATIONS,
    INFO,
    SHELL,
    attach,
    attached,
    build,
    configured,
    events_of,
    finished,
    name,
    newest,
    state_of,
)

DRAIN = AskShutdown("received SIGTERM", 600.0)
UNKNOWN = Failure("twisted.spread.flavors.NoSuchMethod", "shutdown")


def start_build(master: ScriptedMaster, builder: Value) -> Value:
    return master.call(master.builders[builder], "startBuild")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_runs_ends_well_and_nothing_new_begins(generation: str) -> None:
    driver, master = attached(generation)
    linux, mac = name(generation, "linux"), name(generation, "mac")
    command = master.start_command(linux, "shell", SHELL)
    driver.handle(DRAIN)
    assert driver.events[-1:] == [Leaving("received SIGTERM", 600.0)]
    with pytest.raises(CallRefused, match="takes no new build"):
        start_build(master, mac)
    assert SlaveNotice("mac: refused a new build") in driver.events
    assert master.wishes == ["shutdown", "shutdown"], "a 0.8 master looks only when it is asked, not at a refusal"
    driver.advance(500.0)
    driver.end(newest(driver))
    assert command.ends == [None]
    # The build has a second step, after whatever the master had to do between them.
    driver.advance(50.0)
    build(driver, master, linux, start_build=False)
    assert not finished(driver)
    assert master.call_bot("shutdown") is None
    assert finished(driver)
    assert events_of(driver, Stopped) == [Stopped("the master asked for it", False)]


def test_build_that_begins_before_the_login_is_answered_is_one_of_them() -> None:
    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    accept, master.accept_login = master.accept_login, lambda: None  # type: ignore[method-assign]
    attach(master, "0.8")
    start_build(master, b"linux")
    driver.handle(DRAIN)
    assert state_of(driver) is LinkState.LEAVING_EARLY
    build(driver, master, b"linux", start_build=False)
    accept()
    assert (state_of(driver), master.wishes) == (LinkState.LEAVING, ["shutdown"])


def test_time_for_leaving_ends_as_a_stop_does_and_that_has_an_end_as_well() -> None:
    driver, master = attached()
    driver.host.survives = frozenset({"TERM", "KILL"})
    command = master.start_command("linux", "shell", {**SHELL, "sigtermTime": 1000})
    driver.handle(DRAIN)
    driver.advance(599.0)
    assert newest(driver).signals == []
    driver.advance(1.0)
    assert events_of(driver, Stopped) == [Stopped("the time for leaving is over", False)]
    assert newest(driver).signals == ["TERM"]
    driver.advance(LAST_MOMENTS - 0.1)
    assert not finished(driver)
    driver.advance(0.1)
    assert newest(driver).signals[-1] == "KILL"
    assert finished(driver)
    assert driver.session.deadline is None
    assert command.ends == []


def test_silent_master_is_not_waited_for_longer() -> None:
    driver, master = attached()
    driver.listening = False
    driver.handle(DRAIN)
    driver.advance(600.0)
    assert finished(driver)
    assert driver.now == 600.0
    assert master.unanswered == set()


def test_two_stops_while_leaving_wait_for_nothing() -> None:
    driver, master = attached()
    driver.host.survives = frozenset({"TERM", "KILL"})
    master.start_command("linux", "shell", {**SHELL, "sigtermTime": 1000})
    driver.handle(DRAIN, Stop("received SIGTERM"), Stop("at once"))
    assert newest(driver).signals[-1] == "KILL"
    assert finished(driver)


@pytest.mark.parametrize("early", [False, True])
def test_lost_master_cannot_let_it_go(early: bool) -> None:
    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    if not early:
        attach(master, "4.x")
    driver.handle(DRAIN)
    driver.lose_connection("reset")
    assert driver.events[-2:] == [
        Detached("reset", None),
        Stopped("there is no master any more that could let us go", False),
    ]
    assert finished(driver)
    assert len(driver.masters) == 1


def test_master_that_refuses_is_left_when_nothing_ran_for_a_while() -> None:
    driver, master = attached()
    start_build(master, "linux")
    driver.advance(100.0)
    master.refuses_wishes = UNKNOWN
    driver.handle(AskShutdown())
    # It may be between two steps, for a while.
    assert not finished(driver)
    driver.advance(GRACE - 1)
    master.start_command("linux", "shell", SHELL, start_build=False)
    driver.advance(10 * GRACE)
    driver.end(newest(driver))
    driver.advance(GRACE - 1)
    assert not finished(driver)
    driver.advance(1.0)
    assert finished(driver)
    (stopped,) = events_of(driver, Stopped)
    assert stopped == Stopped("no command for 30 s, and the master does not let us go", False)
    assert [event.dropped for event in events_of(driver, CommandFinished)] == [False]


# -- by itself


@pytest.mark.parametrize("generation", GENERATIONS)
def test_number_of_builds(generation: str) -> None:
    driver, master = attached(generation, configured(max_builds=2))
    linux, mac = name(generation, "linux"), name(generation, "mac")
    build(driver, master, linux)
    build(driver, master, linux, start_build=False)
    assert master.wishes == []
    command = master.start_command(mac, "shell", SHELL)
    assert master.wishes == ["shutdown"]
    assert events_of(driver, Leaving) == [Leaving("2 builds are enough", None)]
    with pytest.raises(CallRefused):
        start_build(master, linux)
    driver.advance(10_000.0)
    driver.end(newest(driver))
    assert command.ends == [None]
    assert master.call_bot("shutdown") is None
    assert finished(driver)


def test_idle_slave_leaves_and_the_master_decides_whether_it_was() -> None:
    driver, master = attached("4.x", configured(idle_exit=60.0, keepalive=0.0))
    driver.advance(50.0)
    command = master.start_command("linux", "shell", SHELL)
    driver.advance(1000.0)
    driver.end(newest(driver))
    assert command.ends == [None]
    driver.advance(59.0)
    start_build(master, "mac")
    driver.advance(59.0)
    assert "shutdown" not in master.wishes
    driver.advance(1.0)
    assert master.wishes[-1] == "shutdown"
    assert events_of(driver, Leaving) == [Leaving("nothing ran for 60 s", None)]
    # The build on mac was between two steps.
    build(driver, master, "mac", start_build=False)
    assert master.call_bot("shutdown") is None
    assert finished(driver)


def test_idle_slave_that_finds_no_master_ends() -> None:
    driver = SessionDriver(configured(idle_exit=60.0), INFO)
    driver.reachable = False
    driver.handle(Start())
    driver.advance(59.0)
    assert not finished(driver)
    driver.advance(1.0)
    assert driver.events[-1] == Stopped("nothing ran for 60 s, with no master to ask first", False)
    assert finished(driver)
