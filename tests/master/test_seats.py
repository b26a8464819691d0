"""One name, one slave: what becomes of the second who comes by it, and of the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.liveness import LOOKS
from slaveproto.machine import Machine
from slaveproto.master import (
    BuildLost,
    Configure,
    Disconnect,
    Disconnected,
    EndBuild,
    MasterConfig,
    MasterInput,
    Received,
    SlaveAttached,
    SlaveDetached,
    StartBuild,
    Stop,
)
from slaveproto.master.states import SEAT, SeatEvent, SeatState
from slaveproto.testing import GENERATIONS, HeardCall, MasterDriver, ScriptedSlave
from tests.master.support import BOT1, BOT2, attached, configured, is_open, nothing_left, reasons

KEEPING: Final = "keeping this one"
# Until a silence of the holder is noticed, a question asked, its arrival seen, and the answer missed.
SILENCE: Final = MasterConfig().keepalive + MasterConfig().silence * (1 + 1 / LOOKS) + 0.001


def is_question(heard: HeardCall) -> bool:
    return heard.method == "print" and KEEPING in str(heard.args[0])


def deaf(slave: ScriptedSlave) -> None:
    slave.holds = lambda heard: True


def holder_of(driver: MasterDriver) -> object:
    """The peer that is attached as `bot1`."""
    return driver.links[driver.session.slaves["bot1"].peer.number].peer


# -- the table


@pytest.mark.parametrize("state", list(SeatState))
@pytest.mark.parametrize("event", list(SeatEvent))
def test_every_event_in_every_state(state: SeatState, event: SeatEvent) -> None:
    expected = {
        (SeatState.EMPTY, SeatEvent.CLAIM): SeatState.TAKEN,
        (SeatState.TAKEN, SeatEvent.CONTEND): SeatState.CONTESTED,
        (SeatState.TAKEN, SeatEvent.LEAVE): SeatState.EMPTY,
        (SeatState.CONTESTED, SeatEvent.ALIVE): SeatState.TAKEN,
        (SeatState.CONTESTED, SeatEvent.LEAVE): SeatState.TAKEN,
        (SeatState.CONTESTED, SeatEvent.WITHDRAW): SeatState.TAKEN,
        (SeatState.CONTESTED, SeatEvent.CONTEND): SeatState.CONTESTED,
    }.get((state, event))
    machine = Machine(SEAT)
    machine.state = state
    if expected is None:
        with pytest.raises(RemoteProtocolError if event is SeatEvent.ALIVE else LocalProtocolError):
            machine.fire(event)
    else:
        assert machine.fire(event) is expected


# -- two


def test_a_holder_that_answers_stays() -> None:
    driver, first = attached()
    second = driver.connect()
    assert second.refused is not None
    assert second.refused.kind == "builtins.RuntimeError"
    assert [heard.args for heard in first.calls if is_question(heard)] != []
    assert second.calls == [], "who contends is told nothing"
    assert holder_of(driver) is first
    assert "is connected from peer 1, and alive" in reasons(driver)[0]
    assert is_open(driver, first)
    assert nothing_left(driver)


def test_the_refused_one_may_try_again_when_the_seat_is_free() -> None:
    driver, first = attached()
    second = driver.connect()
    driver.lose(first)
    second.log_in()
    assert second.avatar is not None
    assert holder_of(driver) is second
    assert nothing_left(driver)


@pytest.mark.parametrize("generation", list(GENERATIONS))
def test_a_holder_that_says_nothing_loses_its_seat_in_the_time_for_any_answer(generation: str) -> None:
    driver, first = attached(generation)
    driver.advance(5)
    deaf(first)
    second = driver.connect(generation)
    assert second.outcome is None
    driver.advance(SILENCE - 0.01)
    assert is_open(driver, first)
    assert second.outcome is None
    driver.advance(0.01)
    assert not is_open(driver, first)
    assert second.avatar is not None
    assert holder_of(driver) is second
    kinds = [type(e) for e in driver.events]
    assert kinds == [SlaveAttached, SlaveDetached, SlaveAttached]
    assert "did not answer print within 52 s" in driver.events_of(SlaveDetached)[0].why
    assert nothing_left(driver)


def test_a_holder_that_says_other_things_is_alive() -> None:
    """Its answer may be queued behind megabytes of output."""
    driver, first = attached()
    deaf(first)
    second = driver.connect()
    driver.advance(48)
    first.call_avatar("keepalive")
    driver.advance(3.9)
    assert second.outcome is None
    driver.advance(0.1)
    assert second.refused is not None
    assert holder_of(driver) is first
    first.answer_held()
    assert is_open(driver, first)
    assert nothing_left(driver)


def test_a_holder_that_died_right_after_it_said_something_else() -> None:
    """The contender is not refused for its sake: a real slave would end for good."""
    driver, first = attached()
    deaf(first)
    second = driver.connect()
    driver.advance(6)
    first.call_avatar("keepalive")
    driver.advance(SILENCE - 0.01)
    assert second.outcome is None
    driver.advance(0.01)
    assert holder_of(driver) is second
    assert nothing_left(driver)


def test_the_holder_leaves_while_it_is_asked() -> None:
    driver, first = attached()
    deaf(first)
    second = driver.connect()
    driver.advance(3)
    driver.lose(first, "reset")
    assert second.avatar is not None
    assert holder_of(driver) is second
    driver.advance(30)
    assert is_open(driver, second)
    assert nothing_left(driver)


def test_the_build_of_a_holder_that_loses_is_lost() -> None:
    driver, first = attached()
    driver.handle(StartBuild(1, "bot1", "linux"))
    deaf(first)
    second = driver.connect()
    driver.advance(SILENCE)
    assert [event.build for event in driver.events_of(BuildLost)] == [1]
    driver.handle(EndBuild(1), StartBuild(1, "bot1", "linux"))
    assert "linux.startBuild" in second.said
    assert nothing_left(driver)


def test_the_contender_gives_up() -> None:
    driver, first = attached()
    deaf(first)
    second = driver.connect()
    driver.lose(second)
    assert holder_of(driver) is first
    first.answer_held()
    assert holder_of(driver) is first
    third = driver.connect()
    assert third.refused is not None
    assert nothing_left(driver)


def test_a_dead_holder_goes_though_the_contender_gave_up() -> None:
    driver, first = attached()
    deaf(first)
    driver.lose(driver.connect())
    driver.advance(SILENCE)
    assert not is_open(driver, first)
    assert driver.session.census["seats"] == 0
    assert nothing_left(driver)


def test_a_third_takes_the_place_of_the_second() -> None:
    driver, first = attached()
    deaf(first)
    second = driver.connect()
    driver.advance(4)
    third = driver.connect()
    assert second.refused is not None
    assert "newer" in reasons(driver)[0]
    assert len([heard for heard in first.calls if is_question(heard)]) == 1
    driver.advance(SILENCE - 4)
    assert third.avatar is not None
    assert holder_of(driver) is third
    assert not is_open(driver, first)
    assert nothing_left(driver)


def test_the_third_after_one_that_gave_up_gets_the_seat_when_the_first_question_is_late() -> None:
    driver, first = attached()
    deaf(first)
    driver.lose(driver.connect())
    driver.advance(4)
    third = driver.connect()
    driver.advance(SILENCE - 4)
    assert third.avatar is not None
    assert nothing_left(driver)


def test_a_late_answer_to_an_older_question_speaks_for_the_holder() -> None:
    driver, first = attached()
    first.holds = is_question
    driver.lose(driver.connect())
    third = driver.connect()
    assert len(first.held) == 2
    first.held.pop()
    first.answer_held()
    assert third.refused is not None
    # The other question is still open, and the limit with it.
    driver.advance(SILENCE)
    assert nothing_left(driver)


# -- logins that overlap inside attach


@pytest.mark.parametrize("stuck_at", ["getWorkerInfo", "setBuilderList"])
def test_a_holder_that_is_still_attaching_is_asked_too(stuck_at: str) -> None:
    driver = MasterDriver()

    def prepare(slave: ScriptedSlave) -> None:
        slave.holds = lambda heard: heard.method == stuck_at

    first = driver.connect(prepare=prepare)
    assert driver.session.slaves == {}
    second = driver.connect()
    assert second.refused is not None
    first.answer_held()
    assert holder_of(driver) is first
    assert nothing_left(driver)


@pytest.mark.parametrize("generation", list(GENERATIONS))
def test_one_that_never_answers_anything_is_put_out_by_the_next(generation: str) -> None:
    driver = MasterDriver()
    first = driver.connect(generation, prepare=deaf)
    second = driver.connect(generation)
    assert second.outcome is None
    driver.advance(SILENCE)
    assert not is_open(driver, first)
    assert holder_of(driver) is second
    assert driver.events_of(SlaveDetached) == [], "it never was attached"
    assert nothing_left(driver)


def test_one_that_never_answers_anything_goes_in_time() -> None:
    driver = MasterDriver(configured(attach_timeout=120.0))
    first = driver.connect(prepare=deaf)
    driver.advance(119.9)
    assert is_open(driver, first)
    driver.advance(0.2)
    assert not is_open(driver, first)
    assert "did not answer getWorkerInfo within 120 s" in reasons(driver)[0]
    assert nothing_left(driver)


def test_two_that_never_answer_anything() -> None:
    """The second gets the seat of the first, and loses it in its turn."""
    driver = MasterDriver()
    peers = [driver.connect(prepare=deaf) for _ in range(2)]
    driver.advance(SILENCE)
    assert [peer.open for peer in peers] == [False, True]
    third = driver.connect()
    driver.advance(SILENCE)
    assert [peer.open for peer in peers] == [False, False]
    assert holder_of(driver) is third
    assert nothing_left(driver)


def test_the_first_is_lost_after_the_second_was_attached() -> None:
    """The end of an old connection is no end of the new one."""
    driver, first = attached()
    deaf(first)
    second = driver.connect()
    driver.advance(SILENCE)
    assert not is_open(driver, first)
    driver.lose(first, "reset at last")
    assert holder_of(driver) is second
    assert driver.session.census["slaves"] == 1
    assert nothing_left(driver)


@pytest.mark.parametrize("first_to_happen", ["loss", "claim"])
@pytest.mark.parametrize("hears", [True, False])
def test_the_holder_is_lost_exactly_when_the_contender_claims(first_to_happen: str, hears: bool) -> None:
    driver, first = attached()
    if not hears:
        deaf(first)
    second = driver.connect(login=False)
    link = driver.link_of(second)
    link.open = False
    second.begin_login()
    driver.handle(Received(link.number, second.data_to_send()))
    second.hear(driver.session.data_to_send(link.number))
    claim = Received(link.number, second.data_to_send())
    link.open = True
    driver.link_of(first).open = False
    first.end()
    loss = Disconnected(driver.link_of(first).number, "reset")
    both: list[MasterInput] = [loss, claim] if first_to_happen == "loss" else [claim, loss]
    driver.handle(*both)
    assert second.avatar is not None
    assert holder_of(driver) is second
    assert [type(e) for e in driver.events] == [SlaveAttached, SlaveDetached, SlaveAttached]
    driver.advance(50)
    assert is_open(driver, second)
    assert nothing_left(driver)


# -- what else happens meanwhile


def test_the_holder_is_sent_away_while_contested() -> None:
    driver, first = attached()
    deaf(first)
    second = driver.connect()
    driver.handle(Disconnect("bot1", "go away"))
    assert not is_open(driver, first)
    assert holder_of(driver) is second
    assert nothing_left(driver)


def test_stop_ends_holder_and_contender() -> None:
    driver, first = attached()
    deaf(first)
    second = driver.connect()
    driver.handle(Stop("over"))
    assert not is_open(driver, first)
    assert not is_open(driver, second)
    assert driver.session.census["connections"] == 0
    assert nothing_left(driver)


def test_the_account_goes_while_contested() -> None:
    driver, first = attached()
    deaf(first)
    second = driver.connect()
    driver.handle(Configure(configured(BOT2)))
    assert not is_open(driver, first)
    assert second.refused is not None
    assert nothing_left(driver)


def test_the_contender_gets_the_builders_of_the_newest_configuration() -> None:
    driver, first = attached()
    deaf(first)
    second = driver.connect()
    account = BOT1.__class__("bot1", "secret", {"new": "new-dir"})
    driver.handle(Configure(configured(account)))
    driver.advance(SILENCE)
    assert not is_open(driver, first)
    assert second.directories == {"new": "new-dir"}
    assert [call for call in second.said if call == "bot.setBuilderList"] == ["bot.setBuilderList"]


def test_names_do_not_disturb_each_other() -> None:
    driver, first = attached("4.3", BOT1, BOT2)
    deaf(first)
    driver.connect()
    other = driver.connect(name="bot2")
    assert other.avatar is not None
    driver.advance(SILENCE)
    assert is_open(driver, other)
    assert sorted(driver.session.slaves) == ["bot1", "bot2"]


def test_contenders_do_not_run_out_of_login_time() -> None:
    driver = MasterDriver(configured(login_timeout=5.0))
    first = driver.connect()
    deaf(first)
    second = driver.connect()
    driver.advance(SILENCE)
    assert second.avatar is not None
    driver.advance(50)
    assert is_open(driver, second)


# -- at random


class Crowd(RuleBasedStateMachine):
    """Several peers of two names: they come, go, answer or do not, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = MasterDriver(configured(BOT1, BOT2))
        self.peers: list[ScriptedSlave] = []

    def pick(self, data: st.DataObject) -> ScriptedSlave:
        here = [peer for peer in self.peers if peer.open]
        return data.draw(st.sampled_from(here))

    @precondition(lambda self: len([peer for peer in self.peers if peer.open]) < 6)
    @rule(
        name=st.sampled_from([b"bot1", b"bot1", b"bot2"]),
        generation=st.sampled_from(list(GENERATIONS)),
        password=st.sampled_from(["secret", "secret", "secret", "wrong"]),
        hears=st.sampled_from(["all", "nothing", "questions", "no lists"]),
    )
    def comes(self, name: bytes, generation: str, password: str, hears: str) -> None:
        holds: dict[str, Callable[[HeardCall], bool]] = {
            "all": lambda heard: False,
            "nothing": lambda heard: True,
            "questions": lambda heard: heard.method != "print",
            "no lists": lambda heard: heard.method == "setBuilderList",
        }

        def prepare(slave: ScriptedSlave) -> None:
            slave.holds = holds[hears]

        self.peers.append(self.driver.connect(generation, name, password, prepare=prepare))

    @precondition(lambda self: any(peer.open for peer in self.peers))
    @rule(data=st.data())
    def goes(self, data: st.DataObject) -> None:
        self.driver.lose(self.pick(data))

    @precondition(lambda self: any(peer.open for peer in self.peers))
    @rule(data=st.data())
    def grows_deaf(self, data: st.DataObject) -> None:
        deaf(self.pick(data))

    @precondition(lambda self: any(peer.open for peer in self.peers))
    @rule(data=st.data())
    def answers(self, data: st.DataObject) -> None:
        self.pick(data).answer_held()

    @precondition(lambda self: any(peer.open and peer.refused is not None for peer in self.peers))
    @rule()
    def tries_again(self) -> None:
        for peer in self.peers:
            if peer.open and peer.refused is not None:
                peer.log_in(password=b"secret")

    @rule(seconds=st.sampled_from([0.0, 1.0, SILENCE, 35.0, 130.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.driver.advance(seconds)

    @invariant()
    def one_of_a_name(self) -> None:
        census = self.driver.session.census
        for name in (b"bot1", b"bot2"):
            attached = [peer for peer in self.peers if peer.open and peer.avatar is not None and peer.name == name]
            assert len(attached) <= 1
            if attached:
                slave = self.driver.session.slaves[name.decode()]
                assert self.driver.links[slave.peer.number].peer is attached[0]
        assert census["slaves"] == len([p for p in self.peers if p.open and p.avatar is not None])
        assert census["connections"] == len([p for p in self.peers if p.open])
        assert census["seats"] <= 2

    @invariant()
    def coming_and_going_take_turns(self) -> None:
        for name in ("bot1", "bot2"):
            kinds = [
                isinstance(event, SlaveAttached)
                for event in self.driver.events
                if isinstance(event, (SlaveAttached, SlaveDetached)) and event.slave == name
            ]
            assert kinds == [n % 2 == 0 for n in range(len(kinds))]

    def teardown(self) -> None:
        # Whoever still waits is decided about, in time.
        self.driver.advance(1000)
        for peer in self.peers:
            assert not peer.open or peer.outcome is not None
        assert nothing_left(self.driver)


TestCrowd = pytest.mark.campaigns(Crowd.TestCase)
TestCrowd.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
