"""Slaves of two names over streams, at random: links are lost and come back, programs start anew, builds go on."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slaveproto.inputs import Stop
from slaveproto.master import (
    AbandonStep,
    BuildLost,
    BuildRefused,
    BuildStarted,
    EndBuild,
    InterruptStep,
    MasterSession,
    Ping,
    Result,
    Shell,
    SlaveAttached,
    SlaveBack,
    SlaveCut,
    SlaveDetached,
    StartBuild,
    StartStep,
    StepFinished,
)
from slaveproto.slave.config import SlaveConfig
from slaveproto.testing import MasterDriver, RawPeer
from slaveproto.testing.master_driver import OwnSlave
from slaveproto.testing.memory_host import MemoryChild
from tests.master.support import BOT1, BOT2, configured, nothing_left

pytestmark = pytest.mark.campaigns

WAYS: Final = ("both", "slave", "master", "neither")
"""Sides that are told that a connection is over."""


class LastingCrowd(RuleBasedStateMachine):
    """What is true of each word that a command says: it arrives once, in order, or its slave was given up."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = MasterDriver(session=MasterSession(configured(BOT1, BOT2), resume=b"s" * 32))
        self.slaves: list[OwnSlave] = []
        self.build = 0
        self.steps: dict[int, tuple[OwnSlave, MemoryChild]] = {}
        """Steps that run, and what runs there."""
        self.said: dict[int, bytes] = {}

    def live(self, data: st.DataObject) -> OwnSlave:
        return data.draw(st.sampled_from(self.slaves))

    @precondition(lambda self: len(self.slaves) < 4)
    @rule(name=st.sampled_from(["bot1", "bot1", "bot2"]))
    def starts(self, name: str) -> None:
        number = len(self.driver.own_slaves)
        config = SlaveConfig("master", 9989, name, "secret", f"/slave{number}", keepalive=0.0)
        self.slaves.append(self.driver.connect_own(config, resume=bytes([number]) * 32))

    @precondition(lambda self: self.slaves)
    @rule(data=st.data(), way=st.sampled_from(WAYS), reachable=st.booleans())
    def is_cut(self, data: st.DataObject, way: str, reachable: bool) -> None:
        slave = self.live(data)
        slave.reachable = reachable
        if slave.link is None:
            return
        link = slave.link
        if way in ("both", "master"):
            link.peer = RawPeer()
            self.driver.lose(link.peer, "cut")
        if way in ("both", "slave"):
            # What the master still says over it goes nowhere.
            link.peer = RawPeer()
            slave.end()
            self.driver.settle()
        if way == "neither":
            link.open = False

    @precondition(lambda self: self.slaves)
    @rule(data=st.data())
    def is_reachable(self, data: st.DataObject) -> None:
        self.live(data).reachable = True

    @precondition(lambda self: self.slaves)
    @rule(data=st.data())
    def is_killed(self, data: st.DataObject) -> None:
        slave = self.live(data)
        self.slaves.remove(slave)
        self.driver.own_slaves.remove(slave)
        if slave.link is not None:
            link = slave.link
            link.peer = RawPeer()
            self.driver.lose(link.peer, "killed")

    @precondition(lambda self: self.slaves)
    @rule(data=st.data())
    def stops(self, data: st.DataObject) -> None:
        slave = self.live(data)
        self.slaves.remove(slave)
        slave.handle(Stop("enough"))

    @precondition(lambda self: any(map(self.driver.session.idle_builders, ("bot1", "bot2"))))
    @rule(data=st.data())
    def builds(self, data: st.DataObject) -> None:
        session = self.driver.session
        name = data.draw(st.sampled_from([name for name in ("bot1", "bot2") if session.idle_builders(name)]))
        self.build += 1
        before = {slave: len(slave.host.children) for slave in self.slaves}
        self.driver.handle(StartBuild(self.build, name, session.idle_builders(name)[0]))
        if self.driver.events[-1] != BuildStarted(self.build):
            # The link is dead, and nothing knows it yet.
            return
        self.driver.handle(StartStep(self.build, self.build, Shell(command=("x",), log_environ=False, timeout=None)))
        began = [slave for slave in self.slaves if len(slave.host.children) > before[slave]]
        if began:
            self.steps[self.build] = began[0], list(began[0].host.children.values())[-1]
            self.said[self.build] = b""

    @precondition(lambda self: self.steps)
    @rule(data=st.data())
    def speaks(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(sorted(self.steps)))
        slave, child = self.steps[step]
        if child.running and slave in self.slaves:
            word = b"%d\n" % len(self.said[step])
            self.said[step] += word
            slave.output(child, word)

    @precondition(lambda self: self.steps)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(sorted(self.steps)))
        slave, child = self.steps.pop(step)
        if child.running and slave in self.slaves:
            slave.finish(child)

    @precondition(lambda self: self.steps)
    @rule(data=st.data(), abandon=st.booleans())
    def is_not_wanted(self, data: st.DataObject, abandon: bool) -> None:
        step = data.draw(st.sampled_from(sorted(self.steps)))
        slave, child = self.steps.pop(step)
        self.said.pop(step)
        self.driver.handle(AbandonStep(step, 10.0) if abandon else InterruptStep(step, "enough"))
        if child.signals and child.running and slave in self.slaves:
            slave.finish(child, signal=9)

    @precondition(lambda self: self.driver.session.slaves)
    @rule(data=st.data())
    def is_pinged(self, data: st.DataObject) -> None:
        self.driver.handle(Ping(data.draw(st.sampled_from(sorted(self.driver.session.slaves)))))

    @rule(seconds=st.sampled_from([0.0, 1.0, 12.0, 31.0, 100.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.driver.advance(seconds)

    @invariant()
    def builds_end_as_soon_as_their_steps(self) -> None:
        for event in self.driver.events:
            if isinstance(event, StepFinished):
                self.driver.session.handle(EndBuild(event.step), now=self.driver.now)
        self.driver.settle()

    @invariant()
    def what_is_said_arrives_once_and_in_order(self) -> None:
        over = {event.step: event.outcome for event in self.driver.events_of(StepFinished)}
        for step, said in self.said.items():
            text = self.driver.text(step, stream="stdout")
            assert said.startswith(text)
            if step in over and over[step].result is not Result.RETRY:
                assert text == said

    @invariant()
    def announcements_take_turns(self) -> None:
        for name in ("bot1", "bot2"):
            word = "gone"
            for event in self.driver.events:
                match event:
                    case SlaveAttached(slave=slave) if slave == name:
                        assert word == "gone"
                        word = "here"
                    case SlaveCut(slave=slave) if slave == name:
                        assert word == "here"
                        word = "cut"
                    case SlaveBack(slave=slave) if slave == name:
                        assert word == "cut"
                        word = "here"
                    case SlaveDetached(slave=slave) if slave == name:
                        assert word != "gone"
                        word = "gone"
                    case _:
                        pass
            assert (word == "gone") is (name not in self.driver.session.slaves)
            assert word == "here" or not self.driver.session.idle_builders(name)

    @invariant()
    def nothing_is_left_of_connections(self) -> None:
        census = self.driver.session.census
        assert census["streams"] <= census["connections"]
        assert census["seats"] <= 2

    def teardown(self) -> None:
        for slave in self.slaves:
            slave.reachable = True
        self.driver.advance(1000.0)
        for slave in self.slaves:
            slave.handle(Stop("over"))
        self.driver.handle(Stop("over"))
        begun = {event.build for event in self.driver.events_of(BuildStarted)}
        over = {event.step for event in self.driver.events_of(StepFinished)}
        assert begun <= over
        decided = begun | {event.build for event in self.driver.events if isinstance(event, BuildRefused | BuildLost)}
        assert decided == set(range(1, self.build + 1))
        for build in decided:
            self.driver.handle(EndBuild(build))
        assert nothing_left(self.driver)


TestLastingCrowd = LastingCrowd.TestCase
TestLastingCrowd.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
