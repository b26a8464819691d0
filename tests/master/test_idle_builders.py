"""Which builders can take a build: one answer, for every program."""

from __future__ import annotations

from slaveproto.master import BuildStarted, Configure, EndBuild, ShutDownSlave, SlaveAccount, StartBuild
from slaveproto.testing import MasterDriver
from tests.master.support import BOT2, BROKEN, attached, configured, holding, nothing_left


def test_builders_of_a_slave_that_is_not_there() -> None:
    driver = MasterDriver(configured())
    assert driver.session.idle_builders("bot1") == ()
    slave = driver.connect(prepare=holding("setBuilderList"))
    assert driver.session.idle_builders("bot1") == ()
    slave.answer_held()
    assert driver.session.idle_builders("bot1") == ("linux", "mac")
    driver.lose(slave)
    assert driver.session.idle_builders("bot1") == ()


def test_a_builder_is_not_idle_from_the_ping_to_the_end_of_its_build() -> None:
    driver, slave = attached()
    holding("print")(slave)
    driver.handle(StartBuild(1, "bot1", "linux"))
    assert driver.session.idle_builders("bot1") == ("mac",)
    holding()(slave)
    slave.answer_held()
    assert driver.events[-1] == BuildStarted(1)
    assert driver.session.idle_builders("bot1") == ("mac",)
    driver.handle(StartBuild(2, "bot1", "mac"))
    assert driver.session.idle_builders("bot1") == ()
    driver.handle(EndBuild(1))
    assert driver.session.idle_builders("bot1") == ("linux",)
    assert nothing_left(driver)


def test_a_build_that_is_refused_leaves_its_builder_idle() -> None:
    driver, slave = attached()
    slave.answers["startBuild"] = BROKEN
    driver.handle(StartBuild(1, "bot1", "linux"))
    assert driver.session.idle_builders("bot1") == ("linux", "mac")


def test_a_slave_that_leaves_has_none() -> None:
    driver, _ = attached()
    driver.handle(StartBuild(1, "bot1", "linux"), ShutDownSlave("bot1"))
    assert driver.session.slaves["bot1"].ready_builders() == ("linux", "mac")
    assert driver.session.idle_builders("bot1") == ()
    assert nothing_left(driver)


def test_a_slave_that_is_dismissed_has_none_and_has_them_again_when_it_is_recalled() -> None:
    driver, _ = attached()
    driver.handle(StartBuild(1, "bot1", "linux"), Configure(configured(BOT2)))
    assert driver.session.idle_builders("bot1") == ()
    driver.handle(Configure(configured()))
    assert driver.session.idle_builders("bot1") == ("mac",)
    driver.handle(EndBuild(1))
    assert driver.session.idle_builders("bot1") == ("linux", "mac")
    assert nothing_left(driver)


def test_a_builder_that_is_dropped_is_not_idle_and_a_new_one_is_when_the_slave_has_it() -> None:
    driver, slave = attached()
    holding("setBuilderList")(slave)
    driver.handle(Configure(configured(SlaveAccount("bot1", "secret", {"linux": "linux-dir", "new": "new"}))))
    assert driver.session.idle_builders("bot1") == ("linux",)
    slave.answer_held()
    assert driver.session.idle_builders("bot1") == ("linux", "new")
    assert nothing_left(driver)
