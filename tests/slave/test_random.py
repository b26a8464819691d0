"""A slave under random treatment by its master, its host and the network."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from slaveproto.effects import ProcessClosed, ProcessExited, ReadFile, Request
from slaveproto.inputs import Stop
from slaveproto.slave.events import CommandFinished, CommandStarted
from slaveproto.slave.session import HIGH_WATER
from slaveproto.slave.states import LinkState
from slaveproto.testing import MasterCommand, MemoryChild, SessionDriver
from slaveproto.wire import Value
from tests.slave.support import CONFIG, GENERATIONS, INFO, attach, name, tasks

pytestmark = pytest.mark.campaigns

NAMES = ("a", "b", "c")
LARGEST_PIECE = 200_000


class Watched(SessionDriver):
    """Looks at the doors after every single input."""

    def feed(self, item: Any) -> None:
        asked = len(self.requests)
        super().feed(item)
        deadline = self.session.deadline
        assert deadline is None or deadline >= self.now, "the deadline has passed"
        if self.session._unsent + self.session._pool.unsent_bytes > HIGH_WATER:
            assert not any(isinstance(request.effect, ReadFile) for request in self.requests[asked:])


class Slave(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.driver = Watched(CONFIG, INFO)
        self.host = self.driver.host
        self.generation = "4.x"
        self.listed: tuple[str, ...] = ()
        self.running: dict[str, MasterCommand] = {}

    @initialize(generation=st.sampled_from(GENERATIONS))
    def begin(self, generation: str) -> None:
        self.generation = generation
        self.driver.start()
        self._attach(NAMES[:2])

    def _attach(self, names: tuple[str, ...]) -> None:
        attach(self.driver.master, self.generation, tuple((each, each) for each in names))
        self.listed = names
        self.running = {}

    def _connected(self) -> bool:
        return self.driver.session.state is LinkState.ATTACHED and self.driver.listening

    def _children(self) -> list[MemoryChild]:
        return [child for child in self.host.children.values() if child.running]

    # -- the master

    @precondition(_connected)
    @rule(which=st.integers(0, 2), limits=st.sampled_from([{}, {"timeout": 3}, {"maxTime": 5}, {"sigtermTime": 2}]))
    def start(self, which: int, limits: dict[str, Value]) -> None:
        if which < len(self.listed):
            arguments: dict[str, Value] = {"workdir": "build", "command": "x", "logfiles": {"l": "l"}, **limits}
            builder = self.listed[which]
            self.running[builder] = self.driver.master.start_command(name(self.generation, builder), "shell", arguments)

    @precondition(_connected)
    @rule(which=st.integers(0, 2))
    def make_directory(self, which: int) -> None:
        if which < len(self.listed):
            builder = self.listed[which]
            self.running[builder] = self.driver.master.start_command(
                name(self.generation, builder), "mkdir", {"dir": "x"}
            )

    @precondition(_connected)
    @rule(which=st.integers(0, 2))
    def interrupt(self, which: int) -> None:
        if which < len(self.listed):
            self.driver.master.interrupt(name(self.generation, self.listed[which]))

    @precondition(_connected)
    @rule(names=st.lists(st.sampled_from(NAMES), unique=True).map(tuple))
    def set_builders(self, names: tuple[str, ...]) -> None:
        self.driver.master.set_builders([(name(self.generation, each), name(self.generation, each)) for each in names])
        self.listed = names

    @rule()
    def stop_reading(self) -> None:
        self.driver.listening = False

    @rule()
    def read_again(self) -> None:
        self.driver.listening = True
        self.driver.handle()

    # -- the host

    @rule(which=st.integers(0, 5), size=st.sampled_from([1, 3, 1000, LARGEST_PIECE]), stream=st.booleans())
    def write(self, which: int, size: int, stream: bool) -> None:
        children = self._children()
        if which < len(children) and not self.driver.session.congested:
            data = (b"\xe2\x82\xac\n\xff" * (size // 5 + 1))[:size]
            self.driver.output(children[which], data, "stdout" if stream else "stderr")

    @rule(which=st.sampled_from(NAMES), size=st.sampled_from([1, 1000, LARGEST_PIECE]))
    def write_log(self, which: str, size: int) -> None:
        self.host.append(f"/slave/{which}/build/l", b"l" * size)

    @rule(which=st.integers(0, 5), code=st.integers(0, 2), closed_first=st.booleans())
    def end(self, which: int, code: int, closed_first: bool) -> None:
        children = self._children()
        if which < len(children):
            child = children[which]
            child.running = False
            reports = [ProcessExited(child.number, code, None), ProcessClosed(child.number)]
            self.driver.handle(*(reversed(reports) if closed_first else reports))

    @rule(survives=st.sampled_from([frozenset(), frozenset({"TERM"}), frozenset({"TERM", "KILL"})]))
    def harden(self, survives: frozenset[str]) -> None:
        self.host.survives = survives

    @rule(slow=st.booleans())
    def delay_files(self, slow: bool) -> None:
        def is_read(request: Request) -> bool:
            return isinstance(request.effect, ReadFile)

        if slow:
            self.driver.holds = is_read
        else:
            self.driver.perform_held()

    # -- time and the network

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 2.0, 6.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.driver.advance(seconds)

    @rule(generation=st.sampled_from(GENERATIONS), lose=st.booleans())
    def reconnect(self, generation: str, lose: bool) -> None:
        self.driver.listening = True
        self.driver.handle()
        if self.driver.session.state is LinkState.ATTACHED:
            if not lose:
                return
            self.driver.lose_connection("reset")
        self.generation = generation
        if self.driver.session.state is not LinkState.LOGGING_IN:
            self.driver.reconnect()
        self._attach(NAMES[:2])

    # -- what always holds

    @invariant()
    def each_command_ends_at_most_once(self) -> None:
        for master in self.driver.masters:
            for command in master.commands.values():
                assert len(command.ends) <= 1
                assert not command.late
                keys = [key for key, _ in command.items()]
                assert keys.count("rc") <= 1
                assert keys.count("elapsed") <= 1

    @invariant()
    def text_comes_in_one_kind(self) -> None:
        for master in self.driver.masters:
            for command in master.commands.values():
                command.text("stdout")
                command.text("header")

    @invariant()
    def memory_is_bounded(self) -> None:
        session = self.driver.session
        # Beyond the mark: one piece of output, and a block of each log that was asked for before.
        beyond = 2 * LARGEST_PIECE + len(self.host.children) * 2 * 64 * 1024
        assert session._unsent + session._pool.unsent_bytes <= HIGH_WATER + beyond
        assert session._pool.waiting_bytes - session._pool.unsent_bytes <= HIGH_WATER + beyond

    @invariant()
    def commands_are_counted(self) -> None:
        started = sum(isinstance(event, CommandStarted) for event in self.driver.events)
        finished = sum(isinstance(event, CommandFinished) for event in self.driver.events)
        assert 0 <= started - finished <= tasks(self.driver)

    def teardown(self) -> None:
        driver = self.driver
        driver.listening = True
        driver.perform_held()
        if driver.session.state is LinkState.ATTACHED:
            heard = [command for command in self.running.values() if command.ends]
            assert all(command.local not in driver.master.connection.exported for command in heard)
        driver.handle(Stop("over"))
        for child in self._children():
            driver.end(child)
        driver.advance(100.0)
        assert driver.session.finished
        assert tasks(driver) == 0
        assert driver.session.deadline is None
        assert sum(isinstance(event, CommandStarted) for event in driver.events) == sum(
            isinstance(event, CommandFinished) for event in driver.events
        )
        assert all(child.abandoned or not child.running for child in self.host.children.values())


TestSlave = Slave.TestCase
TestSlave.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
