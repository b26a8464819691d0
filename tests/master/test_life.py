"""Signs of life, and how slaves go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from slaveproto.errors import LocalProtocolError
from slaveproto.inputs import Received
from slaveproto.liveness import LOOKS
from slaveproto.master import (
    BuildLost,
    BuildRefused,
    BuildStarted,
    Configure,
    Disconnect,
    EndBuild,
    MasterEvent,
    MasterNotice,
    Ping,
    Ponged,
    Print,
    Result,
    Shell,
    ShutDownSlave,
    ShutdownWanted,
    SlaveAttached,
    SlaveDetached,
    StartBuild,
    StartStep,
    StepFinished,
)
from slaveproto.slave.events import AskShutdown
from slaveproto.testing import CallRefused, MasterDriver, ScriptedSlave
from tests.master.support import BOT1, BROKEN, GENERATIONS, attached, configured, holding, is_open, nothing_left

SHELL: Final = Shell(command=("make",))


def why_gone(driver: MasterDriver) -> str:
    (event,) = driver.events_of(SlaveDetached)
    return event.why


# -- pings


@pytest.mark.parametrize("generation", GENERATIONS)
def test_ping(generation: str) -> None:
    driver, slave = attached(generation)
    driver.handle(Ping("bot1"), Ping("bot1"))
    assert driver.events[1:] == [Ponged("bot1")] * 2
    assert slave.said[-1] == "bot.print"
    assert nothing_left(driver)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_line_for_the_people_at_the_slave(generation: str) -> None:
    driver, slave = attached(generation)
    slave.answers["print"] = BROKEN
    driver.handle(Print("bot1", "hello"))
    assert slave.said[-1] == "bot.print"
    assert is_open(driver, slave), "it is no sign of life that was asked for"
    assert driver.events_of(Ponged) == []
    assert nothing_left(driver)


def test_a_ping_that_fails() -> None:
    driver, slave = attached()
    slave.answers["print"] = BROKEN
    driver.handle(Ping("bot1"))
    assert not is_open(driver, slave)
    assert why_gone(driver) == "a ping failed: exceptions.ValueError: broken"
    assert nothing_left(driver)


def test_a_ping_that_is_not_answered() -> None:
    """Although it answers other questions: those behind it, too."""
    driver, slave = attached(ping_timeout=60.0)
    holding("print")(slave)
    driver.handle(Ping("bot1"))
    driver.advance(59.9)
    assert is_open(driver, slave)
    assert slave.said[-1] == "bot.getVersion"
    driver.advance(0.2)
    assert not is_open(driver, slave)
    assert why_gone(driver) == "did not answer print within 60 s"
    assert nothing_left(driver)


@pytest.mark.parametrize("what", [Ping("bot9"), Print("bot9", ""), Disconnect("bot9", ""), ShutDownSlave("bot9")])
def test_slaves_that_are_not_there(what: Ping | Print | Disconnect | ShutDownSlave) -> None:
    driver, _ = attached()
    before = dict(driver.session.census)
    with pytest.raises(LocalProtocolError, match="'bot9' is not attached"):
        driver.handle(what)
    assert driver.session.census == before


def test_a_slave_that_is_attaching_is_not_there_yet() -> None:
    driver = MasterDriver()
    driver.connect(prepare=holding("setBuilderList"))
    with pytest.raises(LocalProtocolError, match="'bot1' is not attached"):
        driver.handle(Ping("bot1"))


# -- starting a build


def test_a_build_begins_with_a_ping() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "linux"))
    assert slave.said[-2:] == ["bot.print", "linux.startBuild"]
    assert driver.events[-1] == BuildStarted(1)
    assert nothing_left(driver)


@pytest.mark.parametrize(("method", "lives"), [("print", False), ("startBuild", True)])
@pytest.mark.parametrize("how", ["fails", "never"])
def test_a_build_that_does_not_begin(method: str, lives: bool, how: str) -> None:
    driver, slave = attached()
    if how == "fails":
        slave.answers[method] = BROKEN
    else:
        holding(method)(slave)
    driver.handle(StartBuild(1, "bot1", "linux"))
    driver.advance(61)
    assert slave.open == (lives and how == "fails")
    expected: type[MasterEvent] = BuildRefused if lives and how == "fails" else BuildLost
    assert [type(event) for event in driver.events if isinstance(event, (BuildRefused, BuildLost))] == [expected]
    if slave.open:
        slave.answers.clear()
        driver.handle(StartBuild(1, "bot1", "linux"))
        assert driver.events[-1] == BuildStarted(1)
    assert nothing_left(driver)


@pytest.mark.parametrize("method", ["print", "startBuild"])
def test_a_build_that_is_given_up_before_it_began(method: str) -> None:
    driver, slave = attached()
    holding(method)(slave)
    driver.handle(StartBuild(1, "bot1", "linux"), EndBuild(1))
    slave.answer_held()
    assert driver.events_of(BuildStarted) == []
    driver.handle(StartBuild(2, "bot1", "linux"))
    assert driver.events_of(BuildStarted) == [BuildStarted(2)]
    assert nothing_left(driver)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (StartBuild(1, "bot1", "mac"), "a build 1 already"),
        (StartBuild(3, "bot1", "linux"), "builder 'linux' of slave 'bot1' runs build 1 already"),
        (StartBuild(3, "bot1", "mac"), "builder 'mac' of slave 'bot1' runs build 2 already"),
        (StartStep(2, 9, SHELL), "no build 9"),
        (StartStep(2, 2, SHELL), "build 2 has not started yet"),
        (StartStep(2, 1, SHELL), "build 1 runs step 1 already"),
        (EndBuild(1), "build 1 runs step 1 already"),
    ],
)
def test_what_is_not_possible_is_said_in_the_words_of_the_caller(
    item: StartBuild | StartStep | EndBuild, words: str
) -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "linux"))
    driver.handle(StartStep(1, 1, SHELL))
    holding("print")(slave)
    driver.handle(StartBuild(2, "bot1", "mac"))
    before = dict(driver.session.census)
    with pytest.raises(LocalProtocolError, match=words):
        driver.handle(item)
    assert driver.session.census == before
    slave.command.finish()
    driver.handle(EndBuild(2), EndBuild(1), EndBuild(1))
    assert nothing_left(driver)


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (StartBuild(2, "bot9", "linux"), "slave 'bot9' is not attached"),
        (StartBuild(2, "bot1", "other"), "slave bot1 has no builder 'other' that is ready"),
    ],
)
def test_builds_that_are_refused(item: StartBuild, why: str) -> None:
    """The slave may have gone a moment ago, and the announcement of it wait to be read."""
    driver, _ = attached()
    before = dict(driver.session.census)
    driver.handle(item)
    assert driver.events[-1] == BuildRefused(2, why)
    assert driver.session.census == before
    assert nothing_left(driver)


def test_a_step_of_a_build_that_was_just_lost() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "linux"))
    driver.lose(slave)
    with pytest.raises(LocalProtocolError, match="a build 1 already"):
        driver.handle(StartBuild(1, "bot1", "linux"))
    driver.handle(StartStep(1, 1, SHELL))
    (finished,) = driver.events_of(StepFinished)
    assert finished.step == 1
    assert finished.outcome.result is Result.RETRY
    assert finished.outcome.why == driver.events_of(BuildLost)[0].why
    driver.handle(EndBuild(1))
    with pytest.raises(LocalProtocolError, match="no build 1"):
        driver.handle(StartStep(2, 1, SHELL))
    assert nothing_left(driver)


# -- keepalive


def test_a_silent_slave_is_asked_now_and_then() -> None:
    driver, slave = attached(keepalive=600.0)
    asked = len(slave.calls)
    driver.advance(599)
    assert len(slave.calls) == asked
    driver.advance(2)
    assert len(slave.calls) == asked + 1
    assert slave.said[-1] == "bot.getVersion"
    driver.advance(6000)
    assert len(slave.calls) == asked + 11
    assert is_open(driver, slave)
    assert nothing_left(driver)


def test_a_slave_that_talks_is_not_asked() -> None:
    driver, slave = attached(keepalive=600.0)
    asked = len(slave.calls)
    for _ in range(20):
        driver.advance(400)
        assert slave.call_avatar("keepalive") is None
    assert len(slave.calls) == asked
    assert nothing_left(driver)


def test_a_slave_that_says_nothing_any_more_is_gone() -> None:
    driver, slave = attached(keepalive=600.0, silence=120.0)
    slave.holds = lambda heard: True
    # The question is seen to arrive at the first look.
    driver.advance(600 + 120 * (1 + 1 / LOOKS) - 0.01)
    assert is_open(driver, slave)
    driver.advance(0.02)
    assert not is_open(driver, slave)
    assert why_gone(driver) == "did not answer getVersion within 120 s"
    assert nothing_left(driver)


@pytest.mark.parametrize("how", ["from the start", "later"])
def test_without_keepalive(how: str) -> None:
    driver, slave = attached(keepalive=0.0 if how == "from the start" else 600.0)
    if how == "later":
        driver.advance(100)
        driver.handle(Configure(configured(BOT1, keepalive=0.0)))
    asked = len(slave.calls)
    assert driver.session.deadline is None
    driver.advance(10_000)
    assert len(slave.calls) == asked
    driver.handle(Configure(configured(BOT1, keepalive=60.0)))
    driver.advance(61)
    assert len(slave.calls) > asked
    assert nothing_left(driver)


def test_a_slave_that_is_left_unread_is_not_silent() -> None:
    driver, slave = attached(keepalive=600.0, silence=120.0, ping_timeout=60.0)
    driver.handle(StartBuild(1, "bot1", "linux"))
    driver.handle(StartStep(1, 1, SHELL))
    driver.takes_output = False
    for _ in range(3):
        slave.command.raw_update([[{"stdout": "x" * 500_000}, 0]])
    assert driver.session.paused(1)
    driver.handle(Ping("bot1"))
    driver.advance(5000)
    assert is_open(driver, slave)
    driver.take_output()
    assert not driver.session.paused(1)
    assert driver.events[-1] == Ponged("bot1")
    slave.holds = lambda heard: True
    driver.advance(900)
    assert not is_open(driver, slave)
    assert nothing_left(driver)


# -- the slave wants to go


@pytest.mark.parametrize("generation", GENERATIONS)
def test_an_idle_slave_that_wants_to_go(generation: str) -> None:
    driver, slave = attached(generation)
    assert slave.call_avatar("shutdown") is None
    assert driver.events[-1] == ShutdownWanted("bot1")
    assert slave.said[-1] == "bot.shutdown"
    driver.handle(StartBuild(1, "bot1", "linux"))
    assert driver.events_of(BuildRefused) == [BuildRefused(1, "slave bot1 is leaving")]
    slave.call_avatar("shutdown")
    assert slave.said.count("bot.shutdown") == 1
    assert len(driver.events_of(ShutdownWanted)) == 1
    driver.lose(slave)
    assert driver.connect(generation).avatar is not None
    driver.handle(StartBuild(1, "bot1", "linux"))
    assert nothing_left(driver)


@pytest.mark.parametrize("asks", ["slave", "master"])
def test_a_busy_slave_goes_after_its_last_build(asks: str) -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "linux"), StartBuild(2, "bot1", "mac"))
    if asks == "slave":
        slave.call_avatar("shutdown")
    else:
        driver.handle(ShutDownSlave("bot1"))
    assert driver.events[-1] == ShutdownWanted("bot1")
    driver.handle(EndBuild(1))
    assert "bot.shutdown" not in slave.said
    driver.handle(EndBuild(2))
    assert slave.said[-1] == "bot.shutdown"
    assert nothing_left(driver)


def test_a_build_that_is_refused_lets_it_go_too() -> None:
    driver, slave = attached()
    slave.answers["startBuild"] = BROKEN
    slave.holds = lambda heard: heard.method == "startBuild"
    driver.handle(StartBuild(1, "bot1", "linux"), ShutDownSlave("bot1"))
    slave.answer_held()
    assert slave.said[-1] == "bot.shutdown"
    assert nothing_left(driver)


def test_at_once_means_at_once() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "linux"))
    driver.handle(ShutDownSlave("bot1", graceful=False))
    assert slave.said[-1] == "bot.shutdown"
    driver.handle(ShutDownSlave("bot1", graceful=False), ShutDownSlave("bot1"))
    assert slave.said.count("bot.shutdown") == 1
    driver.lose(slave)
    assert [event.build for event in driver.events_of(BuildLost)] == [1]
    assert nothing_left(driver)


def test_graceful_and_then_at_once() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "linux"), ShutDownSlave("bot1"), ShutDownSlave("bot1", graceful=False))
    assert slave.said.count("bot.shutdown") == 1
    assert nothing_left(driver)


def test_a_slave_before_0_8_3_is_shut_down_through_a_builder() -> None:
    driver, slave = attached("0.8.4")
    slave.lacks.add("shutdown")
    slave.holds = lambda heard: heard.said == "linux.shutdown"
    driver.handle(ShutDownSlave("bot1"))
    assert slave.said[-2:] == ["bot.shutdown", "linux.shutdown"]
    driver.lose(slave)
    assert nothing_left(driver)


def test_a_slave_that_cannot_be_shut_down_is_disconnected() -> None:
    driver = MasterDriver(configured(BOT1.__class__("bot1", "secret", {})))
    slave = driver.connect("4.3", prepare=lambda slave: slave.lacks.add("shutdown"))
    driver.handle(ShutDownSlave("bot1"))
    assert not is_open(driver, slave)
    assert "has none" in why_gone(driver)
    assert nothing_left(driver)


@pytest.mark.parametrize(
    "prepare",
    [
        lambda slave: None,
        holding("shutdown"),
        lambda slave: slave.lacks.add("shutdown"),
    ],
    ids=["answers", "says nothing", "knows nothing"],
)
def test_a_slave_that_does_not_go(prepare: Callable[[ScriptedSlave], None]) -> None:
    driver, slave = attached(ping_timeout=60.0)
    prepare(slave)
    driver.handle(ShutDownSlave("bot1"))
    driver.advance(59)
    assert is_open(driver, slave)
    driver.advance(2)
    assert not is_open(driver, slave)
    assert why_gone(driver) == "it was shut down and did not go"
    assert nothing_left(driver)


def test_shutdown_that_fails() -> None:
    driver, slave = attached()
    slave.answers["shutdown"] = BROKEN
    driver.handle(ShutDownSlave("bot1"))
    assert why_gone(driver) == "shutdown failed: exceptions.ValueError: broken"
    assert nothing_left(driver)


def test_our_own_slave_goes() -> None:
    driver = MasterDriver()
    slave = driver.connect_own()
    slave.handle(AskShutdown())
    driver.advance(5)
    assert slave.session.finished
    assert [type(event) for event in driver.events] == [SlaveAttached, ShutdownWanted, SlaveDetached]
    assert nothing_left(driver)


# -- the perspective


@pytest.mark.parametrize("method", ["addChange", "print", "attached", "keepalive"])
def test_what_a_perspective_has(method: str) -> None:
    driver, slave = attached()
    with pytest.raises(CallRefused, match="TypeError" if method == "keepalive" else "NoSuchMethod"):
        slave.call_avatar(method, b"argument")
    assert is_open(driver, slave)
    assert [event.slave for event in driver.events_of(MasterNotice)] == ["bot1"]


@pytest.mark.parametrize("busy", [True, False])
def test_giving_the_perspective_back_is_a_logout(busy: bool) -> None:
    driver, slave = attached()
    if busy:
        driver.handle(StartBuild(1, "bot1", "linux"))
    assert slave.avatar is not None
    slave.connection.release(slave.avatar)
    driver.settle()
    assert not is_open(driver, slave)
    assert why_gone(driver) == "logged out"
    assert len(driver.events_of(BuildLost)) == busy
    assert nothing_left(driver)


# -- disconnecting


def test_disconnect() -> None:
    driver, slave = attached()
    driver.handle(Disconnect("bot1", "because"))
    assert not is_open(driver, slave)
    assert why_gone(driver) == "because"
    # What arrives all the same is nothing.
    driver.handle(Received(1, b"\0" * 10))
    assert nothing_left(driver)


def test_the_last_words_arrive() -> None:
    """What waited to be sent when a connection is closed is sent before."""
    driver, slave = attached()
    link = driver.link_of(slave)
    link.listening = False
    driver.handle(Ping("bot1"))
    before = len(slave.calls)
    link.listening = True
    driver.inputs.append((driver.now, Disconnect("bot1", "x")))
    driver.feed(Disconnect("bot1", "x"))
    driver.settle()
    assert not is_open(driver, slave)
    assert len(slave.calls) == before + 1
