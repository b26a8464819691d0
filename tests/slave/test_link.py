"""The link to the master: connecting, silence, keepalives, refusals, and the delays before new attempts."""

from __future__ import annotations

from itertools import accumulate

import pytest

from slaveproto.effects import CloseConnection, OpenConnection, Request
from slaveproto.errors import LocalProtocolError
from slaveproto.inputs import Disconnected, Received, Stop, Wakeup
from slaveproto.liveness import LOOKS
from slaveproto.slave.backoff import FIRST_ROUND, LASTING, REFUSED_DELAY, SECOND_ROUND, Backoff
from slaveproto.slave.events import (
    AskShutdown,
    Attached,
    AttachRefused,
    Connected,
    Connecting,
    Detached,
    SlaveEvent,
    SlaveNotice,
    Start,
    Stopped,
    WaitingForMaster,
)
from slaveproto.slave.states import LinkState
from slaveproto.testing import ScriptedMaster, SessionDriver
from slaveproto.wire import Failure
from tests.slave.support import BUILDERS, CONFIG, GENERATIONS, INFO, attach, attached, configured, events_of, state_of

GROWING = [3.0, 36.0, 54.0, 81.0, 121.5, 182.25, 273.375, 300.0, 300.0]
"""Delays of a slave whose place is the end of each round."""


def unreachable(**changes: object) -> SessionDriver:
    driver = SessionDriver(configured(**changes), INFO)
    driver.reachable = False
    driver.handle(Start())
    return driver


# -- the rows of the table, one by one


def test_nothing_happens_before_the_start() -> None:
    driver = SessionDriver(CONFIG, INFO)
    assert state_of(driver) is LinkState.IDLE
    assert driver.session.deadline is None
    assert driver.session.requests() == []
    assert driver.session.data_to_send() == b""
    assert driver.session.next_event() is None
    assert not driver.session.finished


def test_start_connects() -> None:
    driver = SessionDriver(CONFIG, INFO)
    driver.reachable = None
    driver.handle(Start())
    assert state_of(driver) is LinkState.CONNECTING
    assert driver.requests == [Request(1, OpenConnection("master", 9989))]
    assert driver.events == [Connecting("master", 9989)]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_whole_way(generation: str) -> None:
    driver = SessionDriver(CONFIG, INFO)
    driver.reachable = None
    driver.handle(Start())
    driver.handle(Connected(1))
    assert state_of(driver) is LinkState.NEGOTIATING
    assert driver.session.data_to_send() == b""

    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    assert state_of(driver) is LinkState.LOGGING_IN
    assert master.login_name == "bot1"
    attach(master, generation)
    assert state_of(driver) is LinkState.ATTACHED
    assert [event for event in driver.events if isinstance(event, (Connecting, WaitingForMaster, Attached))] == [
        Connecting("master", 9989),
        WaitingForMaster(),
        Attached(("linux", "mac")),
    ]


def connecting() -> SessionDriver:
    driver = SessionDriver(CONFIG, INFO)
    driver.reachable = None
    driver.handle(Start())
    return driver


def negotiating() -> SessionDriver:
    driver = connecting()
    driver.handle(Connected(1))
    return driver


def logging_in() -> SessionDriver:
    driver = SessionDriver(CONFIG, INFO)
    driver.start()
    return driver


def leaving_early() -> SessionDriver:
    driver = logging_in()
    driver.handle(AskShutdown())
    return driver


def leaving() -> SessionDriver:
    driver, _ = attached()
    driver.handle(AskShutdown())
    return driver


def leaving_alone() -> SessionDriver:
    driver, master = attached()
    master.refuses_wishes = Failure("twisted.spread.flavors.NoSuchMethod", "shutdown")
    driver.handle(AskShutdown())
    return driver


def waiting() -> SessionDriver:
    return unreachable()


WAYS = {
    LinkState.IDLE: lambda: SessionDriver(CONFIG, INFO),
    LinkState.CONNECTING: connecting,
    LinkState.NEGOTIATING: negotiating,
    LinkState.LOGGING_IN: logging_in,
    LinkState.ATTACHED: lambda: attached()[0],
    LinkState.LEAVING_EARLY: leaving_early,
    LinkState.LEAVING: leaving,
    LinkState.LEAVING_ALONE: leaving_alone,
    LinkState.WAITING: waiting,
}
CONNECTED = (LinkState.CONNECTING, LinkState.NEGOTIATING, LinkState.LOGGING_IN, LinkState.ATTACHED)
LEAVING = (LinkState.LEAVING_EARLY, LinkState.LEAVING, LinkState.LEAVING_ALONE)
LEAVING_BY_ITSELF = (LinkState.LEAVING_EARLY, LinkState.LEAVING_ALONE)


@pytest.mark.parametrize("state", [state for state in WAYS if state is not LinkState.IDLE])
def test_second_start_is_our_mistake_and_changes_nothing(state: LinkState) -> None:
    driver = WAYS[state]()
    with pytest.raises(LocalProtocolError):
        driver.handle(Start())
    assert state_of(driver) is state
    driver.reachable = True
    driver.advance(1000)
    assert (state_of(driver) is LinkState.STOPPED) == (state in LEAVING_BY_ITSELF)


@pytest.mark.parametrize("state", WAYS)
def test_stop(state: LinkState) -> None:
    driver = WAYS[state]()
    assert state_of(driver) is state
    driver.handle(Stop("enough"))
    assert state_of(driver) is LinkState.STOPPED
    assert driver.session.finished
    assert driver.session.deadline is None
    assert driver.events[-1] == Stopped("enough", False)
    closings = [request.effect for request in driver.requests if isinstance(request.effect, CloseConnection)]
    assert closings == ([CloseConnection(1, b"")] if state in (*CONNECTED, *LEAVING) else [])


@pytest.mark.parametrize("state", CONNECTED)
@pytest.mark.parametrize("why", ["", "Connection reset by peer"])
def test_lost(state: LinkState, why: str) -> None:
    driver = WAYS[state]()
    driver.handle(Disconnected(1, why))
    assert state_of(driver) is LinkState.WAITING
    reason = why or (
        "closed by a peer that never spoke Perspective Broker"
        if state is LinkState.NEGOTIATING
        else "the master closed the connection"
    )
    assert driver.events[-1] == Detached(reason, FIRST_ROUND)
    # The runner closed it already.
    assert not any(isinstance(request.effect, CloseConnection) for request in driver.requests)


@pytest.mark.parametrize("state", [LinkState.WAITING, LinkState.IDLE])
def test_reports_of_other_connections_are_nothing(state: LinkState) -> None:
    driver = WAYS[state]()
    before = list(driver.events)
    for number in (1, 17):
        driver.handle(Connected(number), Received(number, b"x"), Disconnected(number, ""))
    assert state_of(driver) is state
    assert driver.events == before


def test_reports_of_the_connection_before_are_nothing() -> None:
    driver, _ = attached()
    driver.lose_connection()
    attach(driver.reconnect(), "4.x")
    driver.handle(Connected(1), Received(1, b"\xff" * 100), Disconnected(1, "late"))
    assert state_of(driver) is LinkState.ATTACHED
    assert driver.master.call_bot("print", message="still there?") is None


# -- trying again


def delays(driver: SessionDriver, count: int) -> list[float | None]:
    """Return the delays that were announced for the first `count` failures."""
    while len(found := [ev.retry_in for ev in driver.events if isinstance(ev, (Detached, AttachRefused))]) < count:
        assert driver.session.deadline is not None
        driver.advance(driver.session.deadline - driver.now)
    return found


def test_delays_grow_to_their_cap() -> None:
    assert delays(unreachable(), 9) == pytest.approx(GROWING)


def test_delay_is_kept() -> None:
    driver = unreachable()
    for delay in GROWING:
        opened = len(events_of(driver, Connecting))
        driver.advance(delay - 0.001)
        assert len(events_of(driver, Connecting)) == opened
        assert driver.session.deadline is not None
        driver.advance(driver.session.deadline - driver.now)
        assert len(events_of(driver, Connecting)) == opened + 1


@pytest.mark.parametrize("place", [0.0, 0.25, 1.0])
def test_each_slave_has_its_place_in_every_round(place: float) -> None:
    """So none waits longer than the longest round, and slaves that come one after the other go on to do so."""
    drawn: list[float] = []

    def jitter(most: float) -> float:
        drawn.append(most)
        return most * place

    driver = SessionDriver(CONFIG, INFO, jitter=jitter)
    driver.reachable = False
    driver.handle(Start())
    ends = list(accumulate(GROWING, initial=0.0))
    places = [begin + place * length for begin, length in zip(ends, GROWING, strict=False)]
    waits = [wait for wait in delays(driver, 8) if wait is not None]
    assert list(accumulate(waits)) == pytest.approx(places[:8])
    assert drawn == [1.0]


@pytest.mark.parametrize("place", [1e6, 1.0, 0.5, 0.0, -1.0])
@pytest.mark.parametrize("refused", [True, False])
def test_no_jitter_leaves_the_bounds(place: float, refused: bool) -> None:
    backoff = Backoff(60.0, lambda most: place)
    assert all(0.0 <= backoff.failed(refused=refused, counts=True) <= 60.0 for _ in range(10))


def test_login_ends_the_row_of_failures() -> None:
    driver = unreachable()
    delays(driver, 4)
    driver.reachable = True
    attach(driver.reconnect(), "4.x")
    driver.advance(LASTING)
    driver.lose_connection()
    assert driver.events[-1] == Detached("the master closed the connection", FIRST_ROUND)


def test_links_that_do_not_last_are_no_reason_to_come_at_once() -> None:
    driver = SessionDriver(CONFIG, INFO)
    driver.start()
    for delay in GROWING:
        attach(driver.master, "4.x")
        driver.advance(LASTING - 0.1)
        driver.lose_connection()
        assert driver.events[-1] == Detached("the master closed the connection", delay)
        driver.reconnect()


def test_a_loss_that_is_noticed_late_begins_with_the_second_round() -> None:
    driver, _ = attached()
    driver.listening = False
    driver.advance(60)
    assert driver.events[-1] == Detached("the master said nothing for 52 s", SECOND_ROUND)


def test_connection_without_a_login_does_not() -> None:
    driver = SessionDriver(CONFIG, INFO)
    driver.start()
    for _ in range(4):
        driver.lose_connection()
        driver.reconnect()
    assert delays(driver, 4) == pytest.approx(GROWING[:4])


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_retries_have_an_end(attempts: int) -> None:
    driver = unreachable(max_retries=attempts)
    driver.advance(10_000)
    assert len(events_of(driver, Connecting)) == attempts
    assert delays(driver, attempts) == pytest.approx([*GROWING[: attempts - 1], None])
    assert driver.events[-1] == Stopped(f"gave up after {attempts} attempts", True)
    assert driver.session.finished


def test_retries_begin_anew_after_a_login() -> None:
    driver = unreachable(max_retries=3)
    driver.advance(FIRST_ROUND)
    driver.reachable = True
    attach(driver.reconnect(), "4.x")
    driver.reachable = False
    driver.lose_connection()
    driver.advance(10_000)
    # Two that failed, one that was attached (its loss is no failure), three that failed.
    assert len(events_of(driver, Connecting)) == 2 + 1 + 3


# -- refusals


def refused(master: ScriptedMaster, kind: str, message: str = "") -> None:
    master.call_bot("print", message="attached")
    master.refuse_login(kind, message)


def test_wrong_password() -> None:
    driver = SessionDriver(CONFIG, INFO)
    refused(driver.start(), "twisted.cred.error.UnauthorizedLogin")
    assert driver.events[-1] == AttachRefused("wrong name or password", 2 * REFUSED_DELAY)
    assert state_of(driver) is LinkState.WAITING
    assert not driver.master.open


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_refused_login_is_tried_at_most_once_a_minute(place: float) -> None:
    driver = SessionDriver(CONFIG, INFO, jitter=lambda most: most * place)
    refused(driver.start(), "twisted.cred.error.UnauthorizedLogin")
    for _ in range(8):
        refused(driver.reconnect(), "twisted.cred.error.UnauthorizedLogin")
    waits = [wait for wait in delays(driver, 9) if wait is not None]
    assert len(waits) == 9
    assert min(waits) >= REFUSED_DELAY
    assert max(waits) == CONFIG.max_delay


def test_the_longest_delay_goes_before_the_one_after_a_refusal() -> None:
    driver = SessionDriver(configured(max_delay=2.0), INFO)
    refused(driver.start(), "twisted.cred.error.UnauthorizedLogin")
    assert driver.events[-1] == AttachRefused("wrong name or password", 2.0)


def test_other_refusal() -> None:
    driver = SessionDriver(CONFIG, INFO)
    refused(driver.start(), "builtins.RuntimeError", "rejecting duplicate slave")
    why = "builtins.RuntimeError: rejecting duplicate slave"
    assert driver.events[-1] == AttachRefused(why, 2 * REFUSED_DELAY)


def test_refusals_are_retried_only_so_often() -> None:
    driver = SessionDriver(configured(max_retries=2), INFO)
    refused(driver.start(), "builtins.RuntimeError")
    refused(driver.reconnect(), "builtins.RuntimeError")
    assert driver.events[-2:] == [
        AttachRefused("builtins.RuntimeError: ", None),
        Stopped("gave up after 2 attempts", True),
    ]


@pytest.mark.parametrize("value", [None, 0, b"", (b"challenge",), [], "yes"])
def test_login_answered_with_nonsense(value: object) -> None:
    driver = SessionDriver(CONFIG, INFO)
    master = driver.start()
    master.avatar = value  # type: ignore[assignment]
    master.accept_login()
    assert state_of(driver) is LinkState.WAITING
    (event,) = events_of(driver, Detached)
    assert event.why.startswith("the master broke the protocol: ")


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10, b"\x00" * 100, b"\x01\x80\x03\x82abc"])
def test_peer_that_speaks_something_else(data: bytes) -> None:
    driver = negotiating()
    driver.handle(Received(1, data))
    assert state_of(driver) is LinkState.WAITING
    (event,) = events_of(driver, Detached)
    assert event.why.startswith("the master broke the protocol: ")
    assert isinstance(driver.requests[-1].effect, CloseConnection)


def test_violation_later() -> None:
    driver, _ = attached()
    driver.handle(Received(1, b"\xff" * 100))
    assert state_of(driver) is LinkState.WAITING
    attach(driver.reconnect(), "0.8")
    assert state_of(driver) is LinkState.ATTACHED


# -- clocks


def test_connecting_takes_only_so_long() -> None:
    driver = connecting()
    driver.advance(CONFIG.connect_timeout - 0.001)
    assert state_of(driver) is LinkState.CONNECTING
    driver.advance(0.001)
    assert driver.events[-1] == Detached("no connection within 30 s", FIRST_ROUND)
    assert driver.requests[-1].effect == CloseConnection(1, b"")
    driver.handle(Connected(1))
    assert state_of(driver) is LinkState.WAITING


def test_what_came_in_time_counts_however_late_it_is_told() -> None:
    driver = connecting()
    driver.now = 1000.0
    driver.handle(Connected(1))
    assert state_of(driver) is LinkState.NEGOTIATING


def test_silence_before_the_negotiation() -> None:
    driver = negotiating()
    driver.advance(CONFIG.login_silence)
    assert driver.events[-1] == Detached("the master spoke no Perspective Broker for 120 s", FIRST_ROUND)


@pytest.mark.parametrize("secure", [False, True])
def test_a_master_without_a_first_word_may_expect_tls(secure: bool) -> None:
    driver = connecting()
    driver.handle(Connected(1, secure))
    driver.advance(2.9)
    assert not events_of(driver, SlaveNotice)
    driver.advance(0.2)
    text = "connected, but the master has said nothing for 3 s; does its port expect TLS? (then tls = true)"
    assert events_of(driver, SlaveNotice) == ([] if secure else [SlaveNotice(text)])
    assert state_of(driver) is LinkState.NEGOTIATING


def test_a_master_that_took_its_time_for_the_first_word_is_not_suspected() -> None:
    driver = logging_in()
    driver.advance(4.0)
    assert not events_of(driver, SlaveNotice)


def test_silence_before_the_login_is_counted_from_the_last_word() -> None:
    driver = logging_in()
    for _ in range(5):
        driver.advance(CONFIG.login_silence - 1)
        driver.master.call_bot("print", message="checking")
    driver.advance(CONFIG.login_silence - 0.001)
    assert state_of(driver) is LinkState.LOGGING_IN
    driver.advance(0.001)
    assert driver.events[-1] == Detached("the master said nothing for 120 s", FIRST_ROUND)


def test_silence_of_an_attached_master_is_fine_without_keepalives() -> None:
    driver, _ = attached(config=configured(keepalive=0))
    assert driver.session.deadline is None
    driver.advance(1e6)
    assert state_of(driver) is LinkState.ATTACHED


@pytest.mark.parametrize("interval", [600.0, 60.0, 7.0])
def test_keepalives(interval: float) -> None:
    driver, master = attached(config=configured(keepalive=interval))
    driver.advance(interval - 0.001)
    assert master.wishes == []
    driver.advance(0.001)
    assert master.wishes == ["keepalive"]
    driver.advance(9 * interval)
    assert master.wishes == ["keepalive"] * 10
    assert state_of(driver) is LinkState.ATTACHED


@pytest.mark.parametrize("interval", [600.0, 120.0, 60.0, 7.0])
def test_silence_after_a_keepalive(interval: float) -> None:
    """Also where the next keepalive comes before the silence was long enough."""
    driver, _ = attached(config=configured(keepalive=interval))
    driver.listening = False
    # The question is seen to arrive at the first look.
    driver.advance(interval + CONFIG.silence * (1 + 1 / LOOKS) - 0.001)
    assert state_of(driver) is LinkState.ATTACHED
    driver.advance(0.002)
    assert state_of(driver) is LinkState.WAITING
    assert driver.events[-1] == Detached("the master said nothing for 52 s", SECOND_ROUND)


def test_any_word_ends_the_silence() -> None:
    driver, master = attached()
    driver.listening = False
    driver.advance(CONFIG.keepalive)
    master.ask(master.bot, "print", message="busy")  # type: ignore[arg-type]
    driver.advance(CONFIG.silence)
    assert state_of(driver) is LinkState.ATTACHED


def test_keepalives_end_with_the_connection() -> None:
    driver, master = attached()
    driver.lose_connection()
    driver.reachable = None
    driver.advance(CONFIG.keepalive - 0.001)
    assert master.wishes == []


def test_keepalive_that_is_refused_is_still_a_word() -> None:
    driver, master = attached()
    master.refuses_wishes = Failure("builtins.AttributeError", "keepalive")
    driver.advance(CONFIG.keepalive * 3)
    assert state_of(driver) is LinkState.ATTACHED


def test_stale_timer_cannot_fire() -> None:
    """All deadlines of the connection are gone with it, also those that passed in the same moment."""
    driver, _ = attached()
    driver.listening = False
    driver.advance(CONFIG.keepalive)
    driver.now += 1e6
    driver.handle(Wakeup())
    assert state_of(driver) is LinkState.WAITING
    assert driver.session.deadline == driver.now + SECOND_ROUND


@pytest.mark.parametrize("start", [-1000.0, 0.0, 1e9])
def test_clock_may_begin_anywhere(start: float) -> None:
    driver = SessionDriver(CONFIG, INFO)
    driver.now = start
    events: list[SlaveEvent] = driver.events
    attach(driver.start(), "4.x")
    assert events[-1] == Attached(tuple(name for name, _ in BUILDERS))
    driver.lose_connection()
    assert driver.session.deadline == pytest.approx(start + FIRST_ROUND)
