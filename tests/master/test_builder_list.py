"""The list of builders changes while a slave is attached."""

from __future__ import annotations

import pytest

from slaveproto.master import (
    BuildersChanged,
    BuildRefused,
    BuildStarted,
    Configure,
    EndBuild,
    MasterConfig,
    MasterNotice,
    ShutDownSlave,
    SlaveAccount,
    SlaveAttached,
    SlaveDetached,
    StartBuild,
)
from slaveproto.testing import MasterDriver, ScriptedSlave
from tests.master.support import BOT1, BOT2, BROKEN, GENERATIONS, attached, configured, holding, is_open, nothing_left


def listing(**builders: str) -> Configure:
    """Return what makes these the builders of `bot1`."""
    return Configure(configured(SlaveAccount("bot1", "secret", builders)))


def lists(slave: ScriptedSlave) -> list[list[str]]:
    """The names in every list that the slave was given."""
    found = []
    for heard in slave.calls:
        if heard.method == "setBuilderList":
            (pairs,) = heard.args
            assert isinstance(pairs, list)
            names = [pair[0] for pair in pairs if isinstance(pair, tuple)]
            found.append(sorted(name.decode() if isinstance(name, bytes) else str(name) for name in names))
    return found


def ready(driver: MasterDriver) -> tuple[str, ...]:
    return driver.session.slaves["bot1"].ready_builders()


def shown(driver: MasterDriver) -> list[tuple[str, ...]]:
    return [event.builders for event in driver.events_of(BuildersChanged)]


# -- idle


@pytest.mark.parametrize("generation", GENERATIONS)
def test_while_idle(generation: str) -> None:
    driver, slave = attached(generation)
    driver.handle(listing(linux="linux-dir", new="new-dir"))
    assert lists(slave) == [["linux", "mac"], ["linux", "new"]]
    assert slave.directories == {"linux": "linux-dir", "new": "new-dir"}
    assert ready(driver) == ("linux", "new")
    assert shown(driver) == [("linux",), ("linux", "new")]
    introduced = [said for said in slave.said if said.endswith(".setMaster")]
    assert introduced == (["linux.setMaster", "mac.setMaster", "new.setMaster"] if generation.startswith("0.8") else [])
    # One count of each that is on the list, and none of the removed one.
    assert sorted(local.label for local in slave.connection.exported) == ["bot", "builder linux", "builder new"]
    assert set(slave.connection.exported.values()) == {1}
    driver.handle(StartBuild(1, "bot1", "new"))
    assert driver.events[-1] == BuildStarted(1)
    assert nothing_left(driver)


def test_the_same_list_is_not_sent_again() -> None:
    driver, slave = attached()
    driver.handle(listing(mac="mac", linux="linux-dir"))
    driver.handle(Configure(configured(SlaveAccount("bot1", "another password", BOT1.builders))))
    assert len(lists(slave)) == 1
    assert shown(driver) == []


def test_to_nothing_and_back() -> None:
    driver, slave = attached()
    driver.handle(listing(), listing(linux="linux-dir"))
    assert lists(slave) == [["linux", "mac"], [], ["linux"]]
    assert ready(driver) == ("linux",)
    assert nothing_left(driver)


def test_another_directory() -> None:
    driver, slave = attached()
    before = slave.builders["linux"]
    driver.handle(listing(linux="elsewhere", mac="mac"))
    assert slave.directories == {"linux": "elsewhere", "mac": "mac"}
    assert slave.builders["linux"] is before
    assert slave.connection.exported[before] == 1
    assert shown(driver) == []
    assert nothing_left(driver)


def test_twice_in_a_row_while_the_slave_is_slow() -> None:
    """The second list waits for the answer to the first; one that is taken back in between is never sent."""
    driver, slave = attached()
    holding("setBuilderList")(slave)
    driver.handle(listing(a="a"))
    driver.handle(listing(b="b"))
    driver.handle(listing(c="c"))
    assert lists(slave) == [["linux", "mac"], ["a"]]
    slave.answer_held()
    assert lists(slave) == [["linux", "mac"], ["a"], ["c"]]
    assert ready(driver) == ("c",)
    assert sorted(local.label for local in slave.connection.exported) == ["bot", "builder c"]
    assert nothing_left(driver)


@pytest.mark.parametrize("generation", ["0.8.4", "0.8.14"])
def test_a_list_waits_until_the_last_one_is_introduced(generation: str) -> None:
    driver, slave = attached(generation)
    holding("setMaster")(slave)
    driver.handle(listing(a="a"))
    assert slave.said[-2:] == ["a.setMaster", "a.print"]
    driver.handle(listing(b="b"))
    assert lists(slave)[-1] == ["a"]
    slave.answer_held()
    assert lists(slave)[-1] == ["b"]
    assert ready(driver) == ("b",)
    assert nothing_left(driver)


@pytest.mark.parametrize("method", ["getWorkerInfo", "setBuilderList", "setMaster"])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_while_attaching(generation: str, method: str) -> None:
    driver = MasterDriver()
    slave = driver.connect(generation, prepare=holding(method))
    driver.handle(listing(new="new-dir"))
    slave.answer_held()
    assert ready(driver) == ("new",)
    assert lists(slave)[-1] == ["new"]
    # What is not wanted any more was never offered.
    for event in driver.events:
        assert not isinstance(event, (SlaveAttached, BuildersChanged)) or "mac" not in event.builders or not slave.held
    assert nothing_left(driver)


# -- busy


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_busy_builder_stays_until_its_build_is_over(generation: str) -> None:
    driver, slave = attached(generation)
    driver.handle(StartBuild(1, "bot1", "mac"))
    driver.handle(listing(linux="linux-dir", new="new"))
    assert lists(slave)[-1] == ["linux", "mac", "new"]
    assert ready(driver) == ("linux", "new")
    driver.handle(StartBuild(2, "bot1", "mac"))
    assert driver.events[-1] == BuildRefused(2, "slave bot1 has no builder 'mac' that is ready")
    driver.handle(EndBuild(1))
    assert lists(slave)[-1] == ["linux", "new"]
    assert ready(driver) == ("linux", "new")
    assert nothing_left(driver)


def test_a_busy_builder_that_is_wanted_again() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "mac"))
    driver.handle(listing(linux="linux-dir"))
    driver.handle(listing(linux="linux-dir", mac="mac"))
    driver.handle(EndBuild(1))
    assert lists(slave) == [["linux", "mac"]], "it never was another list"
    assert shown(driver) == [("linux",), ("linux", "mac")]


def test_a_busy_builder_keeps_its_directory_until_its_build_is_over() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "mac"), StartBuild(2, "bot1", "linux"))
    driver.handle(listing(linux="linux-dir", mac="elsewhere"))
    assert slave.directories["mac"] == "mac"
    assert len(lists(slave)) == 1
    driver.handle(EndBuild(2))
    assert len(lists(slave)) == 1
    driver.handle(EndBuild(1))
    assert slave.directories["mac"] == "elsewhere"
    assert len(lists(slave)) == 2
    assert nothing_left(driver)


def test_all_builders_are_busy_and_go_one_by_one() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "mac"), StartBuild(2, "bot1", "linux"))
    driver.handle(listing())
    driver.handle(EndBuild(1), EndBuild(2))
    assert lists(slave) == [["linux", "mac"], ["linux"], []]
    assert ready(driver) == ()
    assert nothing_left(driver)


# -- what goes wrong


@pytest.mark.parametrize("answer", [BROKEN, None, [], {"linux": 5}])
def test_the_new_list_fails(answer: object) -> None:
    driver, slave = attached()
    slave.answers["setBuilderList"] = answer  # type: ignore[assignment]
    driver.handle(listing(linux="linux-dir", new="new"))
    if isinstance(answer, dict):
        assert is_open(driver, slave)
        assert ready(driver) == ()
        assert len(driver.events_of(MasterNotice)) == 2
    else:
        assert not is_open(driver, slave)
        assert "setBuilderList" in driver.events_of(SlaveDetached)[0].why
    assert nothing_left(driver)


def test_the_new_list_is_never_answered() -> None:
    driver, slave = attached()
    holding("setBuilderList")(slave)
    driver.handle(listing(new="new"))
    driver.advance(121)
    assert not is_open(driver, slave)
    assert nothing_left(driver)


@pytest.mark.parametrize("generation", ["0.8.4", "0.8.14"])
def test_a_builder_that_cannot_be_introduced_can_be_listed_again(generation: str) -> None:
    driver, slave = attached(generation)
    slave.answers["setMaster"] = BROKEN
    driver.handle(listing(linux="linux-dir", new="new"))
    assert ready(driver) == ("linux",)
    driver.handle(listing(linux="linux-dir"))
    del slave.answers["setMaster"]
    driver.handle(listing(linux="linux-dir", new="new"))
    assert ready(driver) == ("linux", "new")
    assert nothing_left(driver)


def test_a_busy_builder_that_the_slave_lost() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "mac"))
    slave.answers["setBuilderList"] = lambda heard: {"linux": slave.builders["linux"]}
    driver.handle(listing(linux="other", mac="mac"))
    assert ready(driver) == ("linux",)
    driver.handle(EndBuild(1))
    assert ready(driver) == ("linux",)
    assert nothing_left(driver)


# -- the account goes


def test_the_account_is_removed_while_idle() -> None:
    driver, slave = attached()
    driver.handle(Configure(configured(BOT2)))
    assert not is_open(driver, slave)
    assert driver.events_of(SlaveDetached) == [SlaveDetached("bot1", "it is not configured any more")]
    assert driver.connect().refused is not None
    assert nothing_left(driver)


def test_the_account_is_removed_while_busy() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "mac"))
    driver.handle(Configure(configured(BOT2)))
    assert is_open(driver, slave)
    driver.handle(StartBuild(2, "bot1", "linux"))
    assert driver.events[-1] == BuildRefused(2, "slave bot1 is leaving")
    driver.handle(EndBuild(1))
    assert not is_open(driver, slave)
    assert nothing_left(driver)


def test_the_account_comes_back_in_time() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "mac"))
    driver.handle(Configure(configured(BOT2)), Configure(configured(BOT1)))
    driver.handle(StartBuild(2, "bot1", "linux"))
    driver.handle(EndBuild(1), EndBuild(2))
    assert is_open(driver, slave)
    assert nothing_left(driver)


def test_the_account_is_removed_while_attaching() -> None:
    driver = MasterDriver()
    slave = driver.connect(prepare=holding("getWorkerInfo"))
    driver.handle(Configure(configured(BOT2)))
    assert not is_open(driver, slave)
    assert nothing_left(driver)


@pytest.mark.parametrize("busy", [True, False])
def test_a_slave_that_only_the_program_knows_stays(busy: bool) -> None:
    driver, slave = attached("4.3", ask=True)
    driver.handle(Configure(MasterConfig(ask=True)))
    assert is_open(driver, slave)
    assert ready(driver) == ("linux", "mac")


def test_a_list_waits_for_nothing_when_the_slave_is_to_go() -> None:
    driver, slave = attached()
    driver.handle(StartBuild(1, "bot1", "mac"))
    driver.handle(ShutDownSlave("bot1"), listing(linux="linux-dir"))
    driver.handle(EndBuild(1))
    assert slave.said[-1] == "bot.shutdown"
    assert len(lists(slave)) == 1
    assert nothing_left(driver)
