"""Helpers for the tests of the slave."""

from __future__ import annotations

from typing import Final, TypeVar

import attrs

from slaveproto import HostInfo, SlaveConfig
from slaveproto.slave.events import CommandFinished, CommandStarted
from slaveproto.slave.states import LinkState
from slaveproto.testing import MasterCommand, MemoryChild, ScriptedMaster, SessionDriver
from slaveproto.wire import Value

CONFIG: Final = SlaveConfig("master", 9989, "bot1", "secret", "/slave")
INFO: Final = HostInfo({"PATH": "/bin"}, "posix", 2, {"ID": "debian"}, "1.0")
BUILDERS: Final = (("linux", "linux-dir"), ("mac", "mac"))
GENERATIONS: Final = ("0.8", "4.x")
SHELL: Final[dict[str, Value]] = {"workdir": "build", "command": ["make"], "logEnviron": False}

T = TypeVar("T")


def configured(**changes: object) -> SlaveConfig:
    """Return the usual configuration with changes."""
    return attrs.evolve(CONFIG, **changes)  # type: ignore[arg-type]


def attach(master: ScriptedMaster, generation: str, builders: tuple[tuple[str, str], ...] = BUILDERS) -> None:
    """Let a master of that generation attach the slave."""
    (master.attach_as_08 if generation == "0.8" else master.attach_as_4x)(builders)


def name(generation: str, builder: str) -> Value:
    """Return the name of a builder in the kind in which a master of that generation says it."""
    return builder.encode() if generation == "0.8" else builder


def attached(generation: str = "4.x", config: SlaveConfig = CONFIG) -> tuple[SessionDriver, ScriptedMaster]:
    """Return a slave that is attached to a master of that generation."""
    driver = SessionDriver(config, INFO)
    master = driver.start()
    attach(master, generation)
    return driver, master


def newest(driver: SessionDriver) -> MemoryChild:
    """The child that was started last."""
    return list(driver.host.children.values())[-1]


def events_of(driver: SessionDriver, kind: type[T]) -> list[T]:
    """All announcements of a kind."""
    return [event for event in driver.events if isinstance(event, kind)]


def state_of(driver: SessionDriver) -> LinkState:
    """Where the link is."""
    return driver.session.state


def finished(driver: SessionDriver) -> bool:
    """Whether the session is over."""
    return driver.session.finished


def tasks(driver: SessionDriver) -> int:
    """How many scripts run."""
    return len(driver.session._pool.tasks)


def end_children(driver: SessionDriver) -> None:
    """Let every child that still runs end by itself, and everything follow from that."""
    for child in list(driver.host.children.values()):
        if child.running:
            driver.end(child)
    driver.advance(0.0)


def build(
    driver: SessionDriver,
    master: ScriptedMaster,
    builder: Value,
    text: bytes = b"done\n",
    *,
    start_build: bool = True,
) -> MasterCommand:
    """Run a command from beginning to end."""
    command = master.start_command(builder, "shell", SHELL, start_build=start_build)
    child = newest(driver)
    driver.output(child, text)
    driver.end(child, 3)
    assert command.ends == [None]
    assert command.items()[-3][1] == 3
    assert command.text("stdout") in (text, text.decode())
    return command


def check_commands(driver: SessionDriver) -> None:
    """Every command that began ended once, and its master heard of that unless it was dropped."""
    finished = events_of(driver, CommandFinished)
    assert len(events_of(driver, CommandStarted)) == len(finished)
    commands = [command for master in driver.masters for command in master.commands.values()]
    assert all(len(command.ends) <= 1 for command in commands)
    assert all(not command.late for command in commands)
