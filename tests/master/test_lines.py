"""Builds that outlive the link, at the master: slaves whose line is a stream, and all others at the same port."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slaveproto.errors import LocalProtocolError
from slaveproto.inputs import Stop
from slaveproto.master import (
    AbandonStep,
    Accepted,
    BuildLost,
    BuildRefused,
    BuildStarted,
    Configure,
    Disconnect,
    DownloadString,
    EndBuild,
    InterruptStep,
    MasterConfig,
    MasterSession,
    Ping,
    Ponged,
    Print,
    Received,
    Result,
    Secured,
    Shell,
    ShutDownSlave,
    SlaveAttached,
    SlaveBack,
    SlaveCut,
    SlaveDetached,
    StartBuild,
    StartStep,
    StepFinished,
    UploadFile,
)
from slaveproto.master.events import MasterEvent
from slaveproto.master.peer import HIGH_WATER, SPEAKS_HTTP
from slaveproto.resume import ResumePolicy
from slaveproto.resume.greeting import CHOICE, offer
from slaveproto.slave.config import SlaveConfig
from slaveproto.slave.events import AttachRefused, Detached
from slaveproto.testing import GENERATIONS, MasterDriver, RawPeer
from slaveproto.testing.master_driver import OwnSlave
from slaveproto.testing.memory_host import MemoryChild
from tests.master.support import configured, is_open, nothing_left, reasons

SECRET = b"s" * 32
SHELL = Shell(command=("make",), log_environ=False)
SILENCE = ResumePolicy().silence
RESET = "Connection reset by peer"


class Lasting:
    """A master that offers streams, and a slave of ours that is attached over one.

    Args:
        changes: to the configuration.
    """

    def __init__(self, **changes: object) -> None:
        self.driver = MasterDriver(session=MasterSession(configured(**changes), resume=SECRET))
        self.slave = self.come()

    def come(self, name: str = "bot1") -> OwnSlave:
        """Let a slave come, by a program that has just started."""
        secret = bytes([len(self.driver.own_slaves)]) * 32
        # It asks for no signs of life either, so that the stream alone notices a dead link.
        config = SlaveConfig("master", 9989, name, "secret", "/slave", keepalive=0.0)
        return self.driver.connect_own(config, resume=secret)

    def begin(self, build: int = 1, step: int = 10, what: Shell | DownloadString | UploadFile = SHELL) -> MemoryChild:
        """Begin a build with a step; return the process that it started last."""
        self.driver.handle(StartBuild(build, "bot1", "linux"))
        assert self.driver.events[-1] == BuildStarted(build)
        self.driver.handle(StartStep(step, build, what))
        return list(self.slave.host.children.values())[-1]

    def cut(self, *, reachable: bool = False) -> None:
        """Let the connection be lost for both ends."""
        self.slave.reachable = reachable
        self.driver.lose(self.slave, RESET)

    def heal(self) -> None:
        """Let the master be reached again, and some time pass."""
        self.slave.reachable = True
        self.driver.advance(31.0)

    def die(self) -> None:
        """Let the network swallow all, and tell neither end."""
        link = self.slave.link
        assert link is not None
        link.open = False

    def has(self, kind: type[MasterEvent]) -> bool:
        return bool(self.driver.events_of(kind))

    @property
    def result(self) -> Result:
        """The result of the newest step that is over."""
        return self.driver.events_of(StepFinished)[-1].outcome.result


# -- a build


def test_a_build_outlives_its_link() -> None:
    world = Lasting()
    child = world.begin()
    world.slave.output(child, b"before\n")
    world.cut()
    (cut,) = world.driver.events_of(SlaveCut)
    assert cut.slave == "bot1"
    assert cut.why == RESET
    world.slave.output(child, b"meanwhile\n")
    world.driver.advance(600.0)
    assert not world.has(SlaveBack)
    world.heal()
    (back,) = world.driver.events_of(SlaveBack)
    assert 600.0 <= back.seconds <= 631.0
    assert back.peer == f"peer {len(world.driver.links)}"
    world.slave.output(child, b"after\n")
    world.slave.finish(child)
    assert world.driver.text(10, stream="stdout") == b"before\nmeanwhile\nafter\n"
    assert world.result is Result.SUCCESS
    assert not world.has(SlaveDetached)
    assert not world.has(BuildLost)
    assert not child.signals
    world.driver.handle(EndBuild(1))
    assert world.driver.session.idle_builders("bot1") == ("linux", "mac")
    world.slave.handle(Stop("enough"))
    assert nothing_left(world.driver)


def test_the_end_of_a_command_can_come_while_there_is_no_link() -> None:
    world = Lasting()
    child = world.begin()
    world.cut()
    world.slave.finish(child, 3)
    world.driver.advance(300.0)
    assert not world.has(StepFinished)
    world.heal()
    assert world.result is Result.FAILURE


def test_no_build_begins_while_there_is_no_link() -> None:
    world = Lasting()
    assert world.driver.session.idle_builders("bot1") == ("linux", "mac")
    world.cut()
    assert world.driver.session.idle_builders("bot1") == ()
    world.driver.handle(StartBuild(1, "bot1", "linux"))
    (refused,) = world.driver.events_of(BuildRefused)
    assert refused.why == "the link of slave bot1 is lost"
    world.heal()
    assert world.driver.session.idle_builders("bot1") == ("linux", "mac")
    world.begin(2)


def test_a_build_that_has_not_started_begins_elsewhere() -> None:
    world = Lasting()
    world.die()
    world.driver.handle(StartBuild(1, "bot1", "linux"))
    world.driver.advance(SILENCE + 1.0)
    (refused,) = world.driver.events_of(BuildRefused)
    assert refused.build == 1
    assert world.has(SlaveCut)
    world.slave.reachable = True
    world.heal()
    assert world.driver.session.idle_builders("bot1") == ("linux", "mac")
    assert not world.has(SlaveDetached)


def test_a_dead_link_is_noticed_by_both_ends() -> None:
    world = Lasting()
    child = world.begin()
    world.die()
    world.slave.output(child, b"said into the void\n")
    world.driver.advance(SILENCE - 1.0)
    assert not world.has(SlaveCut)
    world.driver.advance(3.0)
    assert world.has(SlaveBack)
    world.slave.finish(child)
    assert world.driver.text(10, stream="stdout") == b"said into the void\n"


def test_the_newer_connection_wins_if_only_the_slave_knows() -> None:
    world = Lasting()
    child = world.begin()
    link = world.slave.link
    assert link is not None
    link.peer = RawPeer()
    world.slave.end()
    world.driver.settle()
    assert not link.open, "the master should have closed the older one"
    assert [type(event) for event in world.driver.events[-2:]] == [SlaveCut, SlaveBack]
    world.slave.finish(child)
    assert world.result is Result.SUCCESS


def test_an_idle_slave_that_lasts_is_not_asked_for_signs_of_life() -> None:
    world = Lasting()
    link = world.driver.link_of(world.slave)
    before = sum(len(data) for _, data in link.flights)
    world.driver.advance(3600.0)
    assert world.has(SlaveAttached)
    assert not world.has(SlaveDetached)
    # Signs of life of the stream, of both sides, five bytes each.
    assert sum(len(data) for _, data in link.flights) - before <= 2 * 5 * (3600 / 6 + 10)


# -- what ends it


@pytest.mark.parametrize("died", [False, True])
def test_a_slave_that_stays_away_is_lost(died: bool) -> None:
    world = Lasting()
    world.begin()
    if died:
        world.die()
        world.slave.link = None
        world.slave.reachable = False
        world.driver.advance(SILENCE + 1.0)
    else:
        world.cut()
    world.driver.advance(898.0)
    assert not world.has(SlaveDetached)
    world.driver.advance(3.0)
    (lost,) = world.driver.events_of(SlaveDetached)
    assert lost.why == "the other end did not come back within 900 s"
    assert world.has(BuildLost)
    assert world.result is Result.RETRY
    world.driver.handle(EndBuild(1))
    assert not any(world.driver.session.census.values())
    world.slave.reachable = True
    world.driver.advance(400.0)
    assert len(world.driver.events_of(SlaveAttached)) == 2


def test_a_master_that_takes_silent_slaves_for_dead_sooner_does_so_with_streams() -> None:
    world = Lasting(keepalive=1.0, silence=5.0)
    world.die()
    world.driver.advance(5.9)
    assert not world.has(SlaveCut)
    world.driver.advance(0.2)
    assert world.has(SlaveCut)


def test_the_patience_is_the_configurations() -> None:
    world = Lasting(patience=20.0)
    world.cut()
    world.driver.advance(19.0)
    assert not world.has(SlaveDetached)
    world.driver.advance(2.0)
    assert world.has(SlaveDetached)


def test_a_slave_that_stops_is_lost_at_once() -> None:
    world = Lasting()
    world.begin()
    world.slave.handle(Stop("enough"))
    (lost,) = world.driver.events_of(SlaveDetached)
    assert lost.why == "enough"
    assert world.has(BuildLost)


def test_a_program_that_starts_anew_gets_the_seat_of_one_whose_link_is_lost() -> None:
    world = Lasting()
    world.begin()
    world.cut()
    anew = world.come()
    (lost,) = world.driver.events_of(SlaveDetached)
    assert "another slave of its name came" in lost.why
    assert world.has(BuildLost)
    assert len(world.driver.events_of(SlaveAttached)) == 2
    # The older one is told, when it comes back, that its stream is over; then it contends like any other.
    world.heal()
    assert [event.why for event in world.slave.events if isinstance(event, Detached)] == [
        "the stream is not known here, or not any more"
    ]
    assert is_open(world.driver, anew)


def test_a_program_that_starts_anew_waits_until_a_dead_link_is_noticed() -> None:
    world = Lasting()
    world.die()
    world.slave.link = None
    world.slave.reachable = False
    world.come()
    assert not world.has(SlaveDetached)
    world.driver.advance(SILENCE + 1.0)
    assert world.has(SlaveDetached)
    assert len(world.driver.events_of(SlaveAttached)) == 2


def test_a_second_slave_of_a_name_is_refused_while_the_first_one_has_a_link() -> None:
    world = Lasting()
    world.come()
    assert "alive" in reasons(world.driver)[0]
    assert not world.has(SlaveDetached)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "end",
    [
        lambda driver: driver.handle(Stop("the master ends")),
        lambda driver: driver.handle(Disconnect("bot1", "go away")),
        lambda driver: driver.handle(Configure(MasterConfig())),
    ],
)
def test_a_master_that_ends_a_slave_tells_it(end: Callable[[MasterDriver], None], cut: bool) -> None:
    world = Lasting()
    if cut:
        world.cut()
    end(world.driver)
    assert world.has(SlaveDetached)
    told = [event for event in world.slave.events if isinstance(event, Detached)]
    assert bool(told) is not cut
    assert {name: count for name, count in world.driver.session.census.items() if count} in ({}, {"connections": 1})
    world.slave.reachable = True
    world.driver.advance(31.0)
    assert any(isinstance(event, Detached) for event in world.slave.events)


def test_a_slave_is_shut_down_when_its_link_is_back() -> None:
    world = Lasting()
    world.cut()
    world.driver.handle(ShutDownSlave("bot1"))
    world.driver.advance(300.0)
    assert not world.has(SlaveDetached)
    world.heal()
    assert world.has(SlaveDetached)
    assert world.slave.session.finished


# -- what is due


def test_nothing_is_due_while_there_is_no_link() -> None:
    world = Lasting()
    child = world.begin(what=Shell(command=("make",), timeout=60.0, max_time=120.0, log_environ=False))
    world.die()
    world.slave.reachable = False
    world.driver.handle(Ping("bot1"))
    world.driver.handle(InterruptStep(10, "enough"))
    world.driver.advance(800.0)
    assert not world.has(SlaveDetached)
    world.heal()
    world.slave.finish(child, signal=9)
    assert world.has(Ponged)
    assert not world.has(SlaveDetached)
    assert world.has(StepFinished)


def test_a_step_that_nothing_waits_for_has_its_time_after_the_link_is_back() -> None:
    world = Lasting()
    child = world.begin()
    world.die()
    world.slave.reachable = False
    world.driver.handle(AbandonStep(10, 10.0))
    world.driver.advance(300.0)
    assert not world.has(SlaveDetached)
    world.heal()
    world.slave.finish(child, signal=15)
    assert world.has(StepFinished)
    assert not world.has(SlaveDetached)


# -- how much waits


def test_output_that_is_not_taken_waits_in_the_stream_and_then_in_the_slave() -> None:
    world = Lasting()
    world.driver.takes_output = False
    child = world.begin()
    block = b"x" * 99 + b"\n"
    sent = 0
    while not world.slave.session.congested and sent < 40_000_000:
        world.slave.output(child, block * 1000)
        sent += 100_000
    assert sent < HIGH_WATER + ResumePolicy().window + 4_000_000
    peer = world.driver.session.slaves["bot1"].peer
    assert HIGH_WATER < peer.unread.size < 2 * HIGH_WATER + ResumePolicy().window
    assert not world.driver.session.paused(peer.number)
    world.driver.advance(120.0)
    assert not world.has(SlaveCut), "the signs of life should be read"
    world.driver.take_output()
    assert not world.slave.session.congested
    world.slave.finish(child)
    assert len(world.driver.text(10, stream="stdout")) == sent
    assert world.result is Result.SUCCESS


def test_what_a_slave_said_before_it_stopped_is_not_lost() -> None:
    world = Lasting()
    world.driver.takes_output = False
    child = world.begin()
    for _ in range(20):
        world.slave.output(child, b"x" * 100_000)
    world.slave.finish(child)
    world.slave.handle(Stop("enough"))
    assert not world.has(SlaveDetached)
    world.driver.take_output()
    assert len(world.driver.text(10, stream="stdout")) == 2_000_000
    assert world.result is Result.SUCCESS
    assert world.has(SlaveDetached)


def test_what_waits_for_a_slave_that_takes_nothing_is_bounded() -> None:
    """Else a slave could ask and ask, and never take an answer."""
    world = Lasting()
    world.cut()
    for _ in range(80):
        world.driver.handle(Print("bot1", "x" * 600_000))
    peer = world.driver.session.slaves["bot1"].peer
    assert 48_000_000 - ResumePolicy().kept - 700_000 < peer.connection.unsent < 48_000_000 - ResumePolicy().kept
    world.heal()
    assert peer.connection.unsent == 0
    assert not world.has(SlaveDetached)


# -- who comes


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_plain_slave_finds_a_longer_greeting_and_nothing_else(generation: str) -> None:
    plain = MasterDriver(configured())
    offering = MasterDriver(session=MasterSession(configured(), resume=SECRET))
    flights = []
    for driver in (plain, offering):
        slave = driver.connect(generation)
        driver.handle(StartBuild(1, "bot1", "linux"))
        driver.handle(StartStep(10, 1, SHELL))
        slave.command.update({"stdout": "x\n"})
        slave.command.finish()
        driver.advance(100.0)
        driver.lose(slave)
        driver.handle(EndBuild(1))
        assert not any(driver.session.census.values())
        flights.append(driver.links[1].flights)
    assert flights[0][0][1] != flights[1][0][1] == offer(plain=True)
    assert flights[0][1:] == flights[1][1:]
    assert plain.events == offering.events


def test_a_slave_that_does_not_wait_for_the_greeting_is_greeted_all_the_same() -> None:
    session = MasterSession(configured(), resume=SECRET)
    session.handle(Accepted(1, "peer", b"c" * 16), now=0.0)
    plain = MasterSession(configured())
    plain.handle(Accepted(1, "peer", b"c" * 16), now=0.0)
    session.handle(Received(1, b"\x02\x82pb"), now=0.0)
    assert session.data_to_send(1).startswith(plain.data_to_send(1))


def test_a_browser_is_told_apart() -> None:
    driver = MasterDriver(session=MasterSession(configured(), resume=SECRET))
    driver.send(driver.connect_raw(), b"GET / HTTP/1.1\r\n\r\n")
    assert reasons(driver) == [f"broke the protocol: {SPEAKS_HTTP}"]
    assert not any(driver.session.census.values())


@pytest.mark.parametrize("said", [b"", b"\x02", CHOICE[:5], CHOICE])
def test_a_stranger_has_the_time_of_a_login(said: bytes) -> None:
    driver = MasterDriver(session=MasterSession(configured(), resume=SECRET))
    stranger = driver.connect_raw()
    driver.send(stranger, said)
    driver.advance(MasterConfig().login_timeout - 0.1)
    assert is_open(driver, stranger)
    driver.advance(0.2)
    assert not is_open(driver, stranger)
    assert reasons(driver) == ["did not log in within 30 s"]
    assert not any(driver.session.census.values())


def test_a_stranger_that_breaks_the_protocol_of_streams_goes() -> None:
    driver = MasterDriver(session=MasterSession(configured(), resume=SECRET))
    stranger = driver.connect_raw()
    driver.send(stranger, CHOICE + b"\xff" * 100)
    assert not stranger.open
    assert "broke the protocol" in reasons(driver)[0]
    assert not any(driver.session.census.values())


def test_a_slave_without_the_right_password_is_told_over_its_stream() -> None:
    driver = MasterDriver(session=MasterSession(configured(), resume=SECRET))
    slave = driver.connect_own(SlaveConfig("master", 9989, "bot1", "wrong", "/slave"), resume=b"r" * 32)
    assert reasons(driver)[0] == "wrong name or password"
    assert any(isinstance(event, AttachRefused) for event in slave.events)


def test_strangers_with_streams_count_like_others() -> None:
    driver = MasterDriver(session=MasterSession(configured(visitors=5), resume=SECRET))
    for number in range(20):
        driver.connect_own(SlaveConfig("master", 9989, f"x{number}", "", "/x"), resume=bytes([number]) * 32)
    assert driver.session.census["connections"] <= 5
    assert driver.session.census["streams"] <= 5


@pytest.mark.parametrize("same", [True, False])
def test_over_tls_a_stream_goes_on_only_with_the_same_certificate(same: bool) -> None:
    driver = MasterDriver(session=MasterSession(configured(), resume=SECRET))
    accept = driver.accept
    driver.accept = lambda peer, secure=True: accept(peer, secure=False)  # type: ignore[method-assign,misc]
    slave = driver.connect_own(resume=b"r" * 32)
    assert not driver.links[1].flights
    driver.handle(Secured(1, ("slave.example",)))
    assert driver.events_of(SlaveAttached)
    driver.lose(slave, RESET)
    driver.handle(Secured(2, ("slave.example" if same else "other.example",)))
    assert bool(driver.events_of(SlaveBack)) is same
    if not same:
        assert "certificate" in reasons(driver)[-1]
        # The slave, whose certificate was not accepted, gives its stream up, and comes as any other.
        assert any(isinstance(event, Detached) for event in slave.events)


def test_bytes_before_the_handshake_of_tls_are_the_runners_fault() -> None:
    session = MasterSession(configured(), resume=SECRET)
    session.handle(Accepted(1, "peer", b"c" * 16, secure=False), now=0.0)
    with pytest.raises(LocalProtocolError, match="handshake"):
        session.handle(Received(1, b"x"), now=0.0)


def test_a_patience_of_nothing_offers_no_streams() -> None:
    world = Lasting(patience=0.0)
    assert world.has(SlaveAttached)
    assert world.driver.session.census["streams"] == 0
    world.cut()
    assert world.has(SlaveDetached)
