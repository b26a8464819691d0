"""How a slave of each generation is attached, and what becomes of it when that fails anywhere."""

from __future__ import annotations

from typing import Final

import pytest

from slaveproto.master import (
    LoginFailed,
    MasterConfig,
    MasterNotice,
    MasterSession,
    Shell,
    SlaveAccount,
    SlaveAttached,
    StartBuild,
    StartStep,
)
from slaveproto.slave.config import SlaveConfig
from slaveproto.testing import GENERATIONS, HeardCall, MasterDriver, ScriptedSlave
from slaveproto.wire import Failure, Local, Remote, Value
from slaveproto.wire.serving import NO_SUCH_METHOD
from tests.master.support import BROKEN, BUILDERS, attached, configured, holding, is_open, nothing_left, reasons

OLD: Final = ("0.8.4", "0.8.14")
NEW: Final = ("4.3", "ours")
ALL: Final = OLD + NEW

OLD_CALLS: Final = [
    *("bot.print", "bot.getWorkerInfo", "bot.getSlaveInfo", "bot.getCommands", "bot.getVersion", "bot.setBuilderList"),
    *("linux.setMaster", "linux.print", "mac.setMaster", "mac.print"),
]
NEW_CALLS: Final = ["bot.print", "bot.getWorkerInfo", "bot.setBuilderList"]
CALLS: Final = {generation: OLD_CALLS if generation in OLD else NEW_CALLS for generation in ALL}
POINTS: Final = [(generation, n) for generation, calls in CALLS.items() for n in range(len(calls))]


def many(count: int) -> SlaveAccount:
    return SlaveAccount("bot1", "secret", {f"builder-{n}": f"dir-{n}" for n in range(count)})


# -- what is called


@pytest.mark.parametrize("generation", ALL)
def test_the_calls_and_what_is_learned(generation: str) -> None:
    driver, slave = attached(generation)
    assert slave.said == CALLS[generation]
    (event,) = driver.events
    assert isinstance(event, SlaveAttached)
    assert event.builders == ("linux", "mac")
    known = GENERATIONS[generation]
    assert event.info.version == known.version
    assert event.info.commands == known.commands
    assert event.info.admin == "A. Admin <admin@example.org>"
    assert event.info.environ == {"PATH": "/bin"}
    assert event.info.system == "posix"
    assert event.info.basedir == "/slave"
    assert slave.directories == BUILDERS
    assert nothing_left(driver)


@pytest.mark.parametrize("generation", ALL)
def test_names_are_said_in_the_kind_that_the_slave_reads(generation: str) -> None:
    _, slave = attached(generation)
    (listed,) = next(heard.args for heard in slave.calls if heard.method == "setBuilderList")
    kind = bytes if generation in OLD else str
    assert isinstance(listed, list)
    assert {type(text) for pair in listed if isinstance(pair, tuple) for text in pair} == {kind}
    assert len(listed) == 2


@pytest.mark.parametrize("generation", ALL)
def test_the_login_is_answered_last(generation: str) -> None:
    driver = MasterDriver()
    slave = driver.connect(generation, prepare=holding(CALLS[generation][-1].partition(".")[2]))
    assert slave.outcome is None
    assert driver.session.slaves == {}
    slave.answer_held()
    assert slave.avatar is not None


def test_our_own_slave_takes_two_round_trips_after_the_login() -> None:
    driver = MasterDriver()
    slave = driver.connect_own()
    senders = [sender for sender, _ in driver.links[1].flights]
    # Offer, login, challenge, response; then information, list, and the answer to the login.
    login, rest = senders[:4], senders[4:]
    assert login == ["master", "peer", "master", "peer"]
    assert rest == ["master", "peer"] * 2 + ["master"]
    assert slave.session.state.name == "ATTACHED"
    assert driver.session.slaves["bot1"].ready_builders() == ("linux", "mac")
    assert nothing_left(driver)


@pytest.mark.parametrize(("generation", "trips"), [("0.8.4", 4), ("0.8.14", 4), ("4.3", 2), ("ours", 2)])
def test_round_trips_of_the_others(generation: str, trips: int) -> None:
    driver, _ = attached(generation)
    assert len([sender for sender, _ in driver.links[1].flights if sender == "peer"]) == 2 + trips


@pytest.mark.parametrize("generation", ALL)
def test_a_slave_without_builders(generation: str) -> None:
    driver, slave = attached(generation, SlaveAccount("bot1", "secret", {}))
    assert driver.session.slaves["bot1"].ready_builders() == ()
    assert "bot.setBuilderList" in slave.said
    assert nothing_left(driver)


# -- fallbacks


@pytest.mark.parametrize(
    ("lacking", "version", "commands", "system"),
    [
        ({"getSlaveInfo"}, "0.8.4", True, ""),
        ({"getVersion"}, "", True, "posix"),
        ({"getCommands"}, "0.8.4", False, "posix"),
        ({"getSlaveInfo", "getVersion", "getCommands"}, "", False, ""),
    ],
)
def test_an_old_slave_that_knows_less(lacking: set[str], version: str, commands: bool, system: str) -> None:
    driver = MasterDriver()
    driver.connect("0.8.4", prepare=lambda slave: slave.lacks.update(lacking))
    info = driver.session.slaves["bot1"].info
    assert info.version == version
    assert bool(info.commands) == commands
    assert info.system == system
    assert nothing_left(driver)


def test_a_master_of_0_8_would_get_on_with_it_too() -> None:
    """A slave of ours that lacks getWorkerInfo is treated as one of 0.8, though it speaks text."""
    driver = MasterDriver()
    slave = driver.connect("ours", prepare=lambda slave: slave.lacks.add("getWorkerInfo"))
    assert slave.said == CALLS["0.8.4"]
    assert driver.session.slaves["bot1"].info.version == "slaveproto 0.1"


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"version": b"4.3.0", b"worker_commands": {b"shell": b"3.3"}},
        {"version": "4.3.0", "slave_commands": {"shell": "3.3"}},
        {"version": None, "admin": 5, "numcpus": "two", "environ": None, "worker_commands": {"shell": None}},
        {"worker_commands": {"shell": "9" * 10_000}, "environ": {b"\xff": b"\xff"}, "extra": [Local("x")]},
    ],
    ids=["empty", "bytes", "early", "wrong", "odd"],
)
def test_information_of_any_kind(info: dict[Value, Value]) -> None:
    driver = MasterDriver()
    slave = driver.connect(prepare=lambda slave: slave.answers.update(getWorkerInfo=info))
    assert slave.avatar is not None
    kept = {local.label for local in slave.connection.exported}
    assert "x" not in kept, "what came with the information was kept"
    assert nothing_left(driver)


def test_a_version_that_is_no_version() -> None:
    """Python reads no integer of ten thousand digits."""
    driver = MasterDriver()
    info: Value = {"worker_commands": {"shell": f"{'9' * 10_000}.x.3" + ".1" * 10_000}}
    slave = driver.connect(prepare=lambda slave: slave.answers.update(getWorkerInfo=info))
    driver.handle(StartBuild(1, "bot1", "linux"))
    driver.handle(StartStep(1, 1, Shell(command=("make",))))
    assert slave.command.name == "shell"
    assert nothing_left(driver)


# -- failures at every point


def broken_at(generation: str, n: int, how: str) -> tuple[MasterDriver, ScriptedSlave]:
    """Let the `n`th call of attaching end in this way."""
    driver = MasterDriver()

    def prepare(slave: ScriptedSlave) -> None:
        def holds(heard: HeardCall) -> bool:
            if len(slave.calls) != n + 1:
                return False
            if how == "missing":
                slave.connection.fail(heard.call.id, Failure(NO_SUCH_METHOD, "No such method"))
            elif how == "broken":
                slave.connection.fail(heard.call.id, BROKEN)
            elif how == "garbage":
                slave.connection.answer(heard.call.id, [b"garbage", Local("garbage")])
            return True

        slave.holds = holds

    return driver, driver.connect(generation, prepare=prepare)


# What becomes of it; whoever is not named here is attached all the same.
ENDS: Final = {
    "missing": {"setBuilderList"},
    "broken": {"getWorkerInfo", "getSlaveInfo", "getCommands", "getVersion", "setBuilderList"},
    "garbage": {"getWorkerInfo", "getSlaveInfo", "getCommands", "setBuilderList"},
}


@pytest.mark.parametrize("how", list(ENDS))
@pytest.mark.parametrize(("generation", "n"), POINTS)
def test_any_call_fails(generation: str, n: int, how: str) -> None:
    target, _, method = CALLS[generation][n].partition(".")
    driver, slave = broken_at(generation, n, how)
    if target == "bot" and method in ENDS[how]:
        assert not is_open(driver, slave)
        assert slave.outcome is None, "a failure would end a slave of 0.8 for good"
        (failed,) = driver.events_of(LoginFailed)
        word = {"missing": "NoSuchMethod", "broken": "ValueError: broken", "garbage": "dictionary"}[how]
        assert word in failed.why
        assert not failed.credentials
    else:
        assert slave.avatar is not None
        ready = driver.session.slaves["bot1"].ready_builders()
        if target == "bot" or how == "garbage":
            assert ready == ("linux", "mac")
        else:
            assert ready == tuple({"linux", "mac"} - {target})
            assert any(f"{target!r} is not usable" in notice.text for notice in driver.events_of(MasterNotice))
        labels = [local.label for local in slave.connection.exported]
        assert "garbage" not in labels
    assert nothing_left(driver)


@pytest.mark.parametrize("talks", [False, True])
@pytest.mark.parametrize(("generation", "n"), POINTS)
def test_any_call_is_never_answered(generation: str, n: int, talks: bool) -> None:
    """A slave that says other things meanwhile is not dead yet."""
    target, _, method = CALLS[generation][n].partition(".")
    driver, slave = broken_at(generation, n, "never")
    if (target, method) == ("bot", "print"):
        assert slave.avatar is not None
        assert nothing_left(driver)
        return
    driver.advance(119)
    assert is_open(driver, slave)
    if talks:
        slave.connection.call(slave.connection.root, "getVersion")
        driver.settle()
        driver.advance(119)
        assert is_open(driver, slave)
    driver.advance(2)
    assert not is_open(driver, slave)
    last = driver.events_of(LoginFailed)
    assert [event.why for event in last] == [f"did not answer {method} within 120 s"]
    assert nothing_left(driver)


@pytest.mark.parametrize(("generation", "n"), POINTS)
def test_the_connection_is_lost_at_any_call(generation: str, n: int) -> None:
    driver, slave = broken_at(generation, n, "never")
    driver.lose(slave, "reset")
    attached_before = any(isinstance(event, SlaveAttached) for event in driver.events)
    assert attached_before == (CALLS[generation][n] == "bot.print")
    assert len(driver.events_of(LoginFailed)) == (not attached_before)
    assert driver.session.census["seats"] == 0
    again = driver.connect(generation)
    assert again.avatar is not None
    assert nothing_left(driver)


@pytest.mark.parametrize("generation", OLD)
def test_no_builder_can_be_introduced(generation: str) -> None:
    driver = MasterDriver()
    slave = driver.connect(generation, prepare=lambda slave: slave.answers.update(setMaster=BROKEN))
    assert slave.avatar is not None
    assert driver.session.slaves["bot1"].ready_builders() == ()
    # Their objects were given back, but for the bot.
    assert list(slave.connection.exported) == [slave.bot]
    assert nothing_left(driver)


# -- the answer to setBuilderList


def listing(answer: Value) -> tuple[MasterDriver, ScriptedSlave]:
    driver = MasterDriver()
    return driver, driver.connect(prepare=lambda slave: slave.answers.update(setBuilderList=answer))


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        ({}, ()),
        ({"linux": Local("l")}, ("linux",)),
        ({"linux": Local("l"), "mac": Local("m"), "more": Local("x")}, ("linux", "mac")),
        ({b"linux": Local("l"), "mac": Local("m")}, ("linux", "mac")),
        ({b"linux": Local("l"), "linux": Local("l2"), "mac": Local("m")}, ("linux", "mac")),
        ({"linux": None, "mac": Local("m")}, ("mac",)),
        ({"linux": [Local("l")], "mac": 5}, ()),
        ({5: Local("l"), None: Local("x"), (1, 2): Local("y")}, ()),
    ],
    ids=["none", "missing", "extra", "bytes", "both", "null", "odd", "keys"],
)
def test_names_in_the_answer(answer: dict[Value, Value], ready: tuple[str, ...]) -> None:
    driver, slave = listing(answer)
    assert slave.avatar is not None
    assert driver.session.slaves["bot1"].ready_builders() == ready
    missing = {f"peer 1: the slave has no builder {name!r}" for name in {"linux", "mac"} - set(ready)}
    assert {notice.text for notice in driver.events_of(MasterNotice)} == missing
    # One count of each that is used, none of the others.
    assert len(slave.connection.exported) == 1 + len(ready)
    assert set(slave.connection.exported.values()) == {1}
    assert nothing_left(driver)


@pytest.mark.parametrize("answer", [None, [], [("linux", Local("l"))], 5, b"x", Local("x")])
def test_an_answer_that_is_no_dictionary(answer: Value) -> None:
    driver, slave = listing(answer)
    assert not is_open(driver, slave)
    assert reasons(driver) == ["broke the protocol: the answer to setBuilderList is no dictionary"]
    assert nothing_left(driver)


# -- many


def test_our_own_slave_takes_1500_builders() -> None:
    driver = MasterDriver(configured(many(1500)))
    driver.connect_own(SlaveConfig("master", 9989, "bot1", "secret", "/slave"))
    assert len(driver.session.slaves["bot1"].ready_builders()) == 1500
    assert nothing_left(driver)


@pytest.mark.parametrize(("generation", "count"), [("0.8.4", 1024), ("4.3", 1024), ("0.8.14", 1025), ("4.3", 1500)])
def test_slaves_on_twisted_take_1024(generation: str, count: int) -> None:
    driver = MasterDriver(configured(many(count)))
    slave = driver.connect(generation)
    if count == 1024:
        assert len(driver.session.slaves["bot1"].ready_builders()) == count
        assert is_open(driver, slave)
    else:
        assert not is_open(driver, slave)
        (why,) = reasons(driver)
        assert why.startswith(f"setBuilderList with {count} builders; a slave on Twisted takes 1024 failed: ")
        assert "Maximum PB reference count exceeded" in why


def test_more_than_a_message_holds() -> None:
    """The mistake is ours then, and the slave's connection ends with the reason."""
    account = SlaveAccount("bot1", "secret", {"b" * 700_000: "dir"})
    driver = MasterDriver(session=MasterSession(MasterConfig({"bot1": account})))
    slave = driver.connect()
    assert not is_open(driver, slave)
    assert reasons(driver)[0].startswith("the list of builders cannot be sent: ")
    assert nothing_left(driver)


def test_what_a_slave_hands_out_is_counted_once() -> None:
    _, slave = attached("4.3")
    assert {local.label: count for local, count in slave.connection.exported.items()} == {
        "bot": 1,
        "builder linux": 1,
        "builder mac": 1,
    }
    assert isinstance(slave.avatar, Remote)
