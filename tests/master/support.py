"""What the tests of the master share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from slaveproto.master import Account, BuildLost, EndBuild, LoginFailed, MasterConfig, SlaveAccount
from slaveproto.testing import MasterDriver, ScriptedSlave
from slaveproto.wire import Failure

GENERATIONS: Final = ("0.8.4", "0.8.14", "4.3", "ours")
BUILDERS: Final = {"linux": "linux-dir", "mac": "mac"}
BOT1: Final = SlaveAccount("bot1", "secret", BUILDERS)
BOT2: Final = SlaveAccount("bot2", "secret", {"linux": "linux-dir"})
BROKEN: Final = Failure("exceptions.ValueError", "broken")


def configured(*accounts: Account, **changes: object) -> MasterConfig:
    """Return a configuration with these accounts, `bot1` if none is given."""
    config = MasterConfig({account.name: account for account in accounts or (BOT1,)})
    return attrs.evolve(config, **changes)  # type: ignore[arg-type]


def attached(generation: str = "4.3", *accounts: Account, **changes: object) -> tuple[MasterDriver, ScriptedSlave]:
    """Return a master, and `bot1` of that generation, which is attached to it."""
    driver = MasterDriver(configured(*accounts, **changes))
    slave = driver.connect(generation)
    assert slave.avatar is not None
    return driver, slave


def holding(*methods: str) -> Callable[[ScriptedSlave], None]:
    """Return what makes a slave hold back the answers to these methods."""

    def prepare(slave: ScriptedSlave) -> None:
        slave.holds = lambda heard: heard.method in methods

    return prepare


def reasons(driver: MasterDriver) -> list[str]:
    """Why logins failed so far."""
    return [event.why for event in driver.events_of(LoginFailed)]


def is_open(driver: MasterDriver, slave: object) -> bool:
    """Whether the newest connection of a peer is there."""
    return next(link for link in reversed(driver.links.values()) if link.peer is slave).open


def nothing_left(driver: MasterDriver) -> bool:
    """End all connections; return whether nothing of them is left."""
    for link in driver.links.values():
        if link.open:
            driver.lose(link.peer)
    driver.perform_held()
    for lost in driver.events_of(BuildLost):
        driver.handle(EndBuild(lost.build))
    left = {name: count for name, count in driver.session.census.items() if count}
    assert left == {}
    assert driver.session.deadline is None
    return True
