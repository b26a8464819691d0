"""Tests that a slave survives the end of its connection at every byte and at every input of a conversation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import pytest

from slaveproto.inputs import Disconnected
from slaveproto.slave.events import CommandFinished, Input
from slaveproto.testing import CallRefused, ConnectionLost, SessionDriver
from slaveproto.wire import Value
from tests.slave.support import (
    BUILDERS,
    GENERATIONS,
    INFO,
    SHELL,
    attach,
    build,
    check_commands,
    configured,
    end_children,
    events_of,
    name,
    newest,
    tasks,
)

pytestmark = pytest.mark.campaigns

LOG = "/slave/linux-dir/build/a.log"


class Cut(SessionDriver):
    """A driver whose first connection ends when something is used up.

    Args:
        received: how many bytes of the master arrive; None for all.
        sent: how many bytes of the slave arrive; None for all.
        inputs: how many inputs the session gets before; None for all.
    """

    def __init__(self, *, received: int | None = None, sent: int | None = None, inputs: int | None = None) -> None:
        super().__init__(configured(keepalive=600.0), INFO)
        self.left = {"received": received, "sent": sent, "inputs": inputs}
        self.used = {"received": 0, "sent": 0, "inputs": 0}

    def _use(self, what: str, amount: int) -> int | None:
        """Use something, and return how much of it there was if that is its end."""
        if len(self.masters) > 1:
            return None
        self.used[what] += amount
        left = self.left[what]
        if left is None or left >= amount:
            self.left[what] = None if left is None else left - amount
            return None
        self.left[what] = None
        return left

    def _cut(self) -> None:
        if self._connection:
            number, self._connection = self._connection, 0
            self.master.end()
            self._reports.append(Disconnected(number, "cut"))

    def to_slave(self, data: bytes) -> None:
        rest = self._use("received", len(data))
        super().to_slave(data if rest is None else data[:rest])
        if rest is not None:
            self._cut()

    def to_master(self, data: bytes) -> None:
        rest = self._use("sent", len(data))
        super().to_master(data if rest is None else data[:rest])
        if rest is not None:
            self._cut()

    def feed(self, item: Input) -> None:
        if self._use("inputs", 1) is not None and self._connection:
            number, self._connection = self._connection, 0
            self.master.end()
            super().feed(Disconnected(number, "cut"))
        super().feed(item)


def converse(driver: SessionDriver, generation: str) -> None:
    """A whole life: attach, three commands, one of them interrupted, another list of builders, a keepalive."""
    master = driver.start()
    attach(master, generation)
    linux, mac = name(generation, "linux"), name(generation, "mac")
    master.start_command(linux, "shell", {**SHELL, "logfiles": {"a": "a.log"}, "timeout": 20})
    child = newest(driver)
    master.start_command(mac, "shell", {**SHELL, "sigtermTime": 2})
    driver.output(child, b"one\n")
    driver.host.write(LOG, b"log\n")
    driver.advance(3.0)
    driver.output(child, b"two\n", "stderr")
    master.interrupt(mac)
    driver.end(child, 1)
    master.start_command(linux, "mkdir", {"dir": "x"}, start_build=False)
    listed: list[tuple[Value, Value]] = [(linux, linux), (name(generation, "new"), "new")]
    master.set_builders(listed)
    driver.advance(600.0)
    master.call_bot("print", message="bye")


def converse_briefly(driver: SessionDriver, generation: str) -> None:
    """Attach, and one command that is interrupted."""
    master = driver.start()
    attach(master, generation, BUILDERS[:1])
    linux = name(generation, "linux")
    master.start_command(linux, "shell", SHELL)
    driver.output(newest(driver), b"one\n")
    driver.advance(1.0)
    master.interrupt(linux)
    master.call_bot("print", message="bye")


Conversation: TypeAlias = Callable[[SessionDriver, str], None]


def check_aftermath(driver: Cut, generation: str) -> None:
    end_children(driver)
    driver.advance(0.0)
    assert tasks(driver) == 0, driver.session._pool.tasks
    check_commands(driver)
    lost = driver.masters[0]
    told = {event.id for event in events_of(driver, CommandFinished) if not event.dropped}
    # What was sent may not have arrived.
    assert {number for number, command in enumerate(lost.commands.values()) if command.ends} <= set(map(int, told))
    if lost.open:
        driver.lose_connection()
    attach(driver.reconnect(), generation)
    build(driver, driver.master, name(generation, "linux"))
    labels = {local.label for local in driver.master.connection.exported}
    assert labels <= {"perspective", "builder of the master"}
    check_commands(driver)


def life(generation: str, conversation: Conversation = converse, **left: int) -> Cut:
    driver = Cut(**left)
    with suppress(ConnectionLost):
        conversation(driver, generation)
    return driver


@pytest.mark.parametrize("generation", GENERATIONS)
def test_nothing_is_cut(generation: str) -> None:
    driver = life(generation)
    assert driver.master.open
    assert [len(command.ends) for command in driver.master.commands.values()] == [1, 1, 1]
    check_aftermath(driver, generation)


@pytest.mark.parametrize(
    ("generation", "what", "conversation"),
    [
        ("0.8", "received", converse_briefly),
        ("4.x", "sent", converse_briefly),
        ("0.8", "inputs", converse),
        ("4.x", "inputs", converse),
    ],
)
def test_cut_everywhere(generation: str, what: str, conversation: Conversation) -> None:
    total = life(generation, conversation).used[what]
    assert total > 50
    # The first input is what makes the connection. Every third byte is enough: `python -m tests.faults` takes each.
    for index in range(what == "inputs", total, 1 if what == "inputs" else 3):
        driver = life(generation, conversation, **{what: index})
        assert not driver.masters[0].open, index
        check_aftermath(driver, generation)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_cut_in_any_pieces_the_conversation_is_the_same(generation: str) -> None:
    whole = life(generation)

    class Bytewise(Cut):
        def to_slave(self, data: bytes) -> None:
            for n in range(len(data)):
                super().to_slave(data[n : n + 1])

    driver = Bytewise()
    converse(driver, generation)
    assert driver.events == whole.events
    for mine, theirs in zip(driver.master.commands.values(), whole.master.commands.values(), strict=True):
        assert mine.items() == theirs.items()
        assert mine.ends == theirs.ends


def test_refused_call_is_no_lost_one() -> None:
    driver = life("4.x")
    with pytest.raises(CallRefused):
        driver.master.call_bot("nothing")
    driver.lose_connection()
    with pytest.raises(ConnectionLost):
        driver.masters[0].call_bot("print", message="x")
