"""Slaves that the configuration drops while they leave, or calls back; contenders; the scripts behind all that."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

import pytest

from slaveproto.master import (
    BuildLost,
    BuildStarted,
    Configure,
    Disconnect,
    EndBuild,
    LoginFailed,
    MasterInput,
    ShutDownSlave,
    ShutdownWanted,
    SlaveAttached,
    SlaveDetached,
    StartBuild,
    Stop,
)
from slaveproto.master.states import DEPARTURE, DepartureEvent, DepartureState
from slaveproto.master.tasks import MasterTask
from slaveproto.testing import MasterDriver, ScriptedSlave
from tests.master.support import BOT2, GENERATIONS, attached, configured, is_open, nothing_left

DROP = Configure(configured(BOT2))
RECALL = Configure(configured())
LEAVE = ShutDownSlave("bot1")


def walk(*events: DepartureEvent) -> DepartureState:
    state = DEPARTURE.start
    for event in events:
        state = DEPARTURE.next_state(state, event)
    return state


def test_a_recall_ends_a_dismissal_and_not_a_departure() -> None:
    event = DepartureEvent
    assert walk(event.DISMISS, event.RECALL) is DepartureState.STAYING
    assert walk(event.WANT, event.RECALL) is DepartureState.LEAVING
    assert walk(event.DISMISS, event.WANT, event.RECALL) is DepartureState.LEAVING
    assert walk(event.WANT, event.DISMISS, event.RECALL) is DepartureState.LEAVING
    assert walk(event.WANT, event.ASK, event.DISMISS, event.RECALL) is DepartureState.ASKED


def ends(driver: MasterDriver, slave: ScriptedSlave) -> str:
    """End the build; return how the slave goes."""
    driver.handle(EndBuild(1))
    if not is_open(driver, slave):
        return driver.events_of(SlaveDetached)[-1].why
    return "shut down" if slave.said[-1] == "bot.shutdown" else "stays"


@pytest.mark.parametrize(
    ("inputs", "end", "wanted"),
    [
        ((), "stays", 0),
        ((DROP,), "it is not configured any more", 0),
        ((DROP, RECALL), "stays", 0),
        ((LEAVE,), "shut down", 1),
        ((LEAVE, LEAVE), "shut down", 1),
        ((LEAVE, DROP), "it is not configured any more", 1),
        ((DROP, LEAVE), "it is not configured any more", 1),
        ((DROP, LEAVE, RECALL), "shut down", 1),
        ((LEAVE, DROP, RECALL), "shut down", 1),
        ((DROP, LEAVE, DROP, LEAVE), "it is not configured any more", 1),
    ],
)
def test_a_busy_slave_that_is_dropped_and_leaves(inputs: Sequence[MasterInput], end: str, wanted: int) -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "linux"))
    assert driver.events[-1] == BuildStarted(1)
    driver.handle(*inputs)
    assert is_open(driver, slave)
    assert bool(driver.session.idle_builders("bot1")) == (end == "stays")
    assert ends(driver, slave) == end
    assert len(driver.events_of(ShutdownWanted)) == wanted
    assert nothing_left(driver)


# -- a contender meets the end


def contested() -> MasterDriver:
    """A master with a slave that is asked for a sign of life, because a second one came by its name."""
    driver, first = attached()
    driver.handle(StartBuild(1, "bot1", "linux"))
    first.holds = lambda heard: True
    driver.connect()
    driver.events.clear()
    return driver


def test_a_stop_ends_the_contender_of_a_name_with_its_holder() -> None:
    driver = contested()
    driver.handle(Stop("over"))
    assert sorted(type(event).__name__ for event in driver.events) == ["BuildLost", "LoginFailed", "SlaveDetached"]
    assert [event.why for event in driver.events_of(LoginFailed)] == ["over"]
    assert nothing_left(driver)


def test_the_contender_gets_the_name_of_a_holder_that_is_disconnected() -> None:
    driver = contested()
    driver.handle(Disconnect("bot1", "go"))
    # What ended is told before what begins.
    assert [type(event) for event in driver.events] == [BuildLost, SlaveDetached, SlaveAttached]
    assert nothing_left(driver)


# -- scripts


@pytest.fixture(autouse=True)
def nothing_else_is_looked_at() -> Iterator[None]:
    """A process that runs thousands of tests has millions of objects, which take seconds to count."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def scripts() -> int:
    """The scripts of masters that are alive."""
    gc.collect()
    return sum(isinstance(thing, MasterTask) for thing in gc.get_objects())


@pytest.mark.parametrize("generation", GENERATIONS)
def test_no_script_lives_for_an_idle_slave(generation: str) -> None:
    before = scripts()
    driver, slave = attached(generation)
    driver.handle(StartBuild(1, "bot1", "linux"), EndBuild(1))
    driver.handle(Configure(configured(keepalive=60.0)))
    driver.advance(200)
    assert is_open(driver, slave)
    assert scripts() == before


@pytest.mark.parametrize("method", ["print", "getWorkerInfo", "setBuilderList", "shutdown"])
def test_a_script_that_waits_for_an_answer_ends_with_its_connection(method: str) -> None:
    before = scripts()
    driver = MasterDriver(configured())
    slave = driver.connect(prepare=lambda slave: setattr(slave, "holds", lambda heard: heard.method == method))
    if slave.avatar is not None:
        driver.handle(StartBuild(1, "bot1", "linux"), ShutDownSlave("bot1", graceful=False))
    assert scripts() > before
    slave.held.clear()
    driver.lose(slave)
    assert scripts() == before
    assert nothing_left(driver)
