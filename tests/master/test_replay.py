"""A master is a function of its inputs: a recorded list gives the same again, and may break off anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.errors import HostError, LocalProtocolError
from slaveproto.inputs import Disconnected, Received, Rejected, Wakeup
from slaveproto.master import (
    AbandonStep,
    AnswerAccount,
    BuildLost,
    BuildStarted,
    Configure,
    EndBuild,
    InterruptStep,
    MasterEvent,
    MasterInput,
    MasterSession,
    Secured,
    Shell,
    ShutDownSlave,
    SlaveAccount,
    SlaveAttached,
    SlaveDetached,
    StartBuild,
    StartStep,
    StepFinished,
    Stop,
    UploadFile,
)
from slaveproto.master.states import PeerState, RemoteBuilderState
from slaveproto.testing import MasterDriver
from tests.master.support import BOT1, BOT2, GENERATIONS, configured

KEEPALIVE: Final = 300.0
"""Seconds: few signs of life, for every input is one more place where all may break off."""

CONFIG: Final = configured(BOT1, BOT2, ask=True, keepalive=KEEPALIVE)
CONNECTIONS: Final = range(1, 10)


@cache
def conversation(generation: str) -> list[tuple[float, MasterInput]]:
    """Two slaves, a build with an upload, an interrupt and a step that is abandoned, a new list, a duplicate, a wrong
    password over TLS, a shutdown."""
    driver = MasterDriver(CONFIG)
    # Every answer is an input of its own.
    slave = driver.connect(generation, prepare=lambda slave: setattr(slave, "holds", lambda heard: True))
    while slave.held:
        held, slave.held = slave.held, []
        for heard in held:
            slave._answer(heard)
            driver.settle()
    slave.holds = lambda heard: False
    other = driver.connect(generation, "bot2")
    wrong = driver.connect(generation, "bot2", "wrong", secure=False)
    driver.handle(Secured(driver.link_of(wrong).number))
    driver.connect(generation, login=False)
    unknown = driver.connect(generation, "bot7")
    driver.handle(AnswerAccount(driver.link_of(unknown).number, None))
    driver.handle(StartBuild(1, "bot1", "linux"), StartBuild(2, "bot2", "linux"))
    driver.handle(StartStep(1, 1, Shell(command=("make",))))
    slave.command.update({"stdout": "hello\n"})
    driver.handle(InterruptStep(1, "enough"))
    slave.command.finish(1)
    driver.handle(StartStep(2, 1, UploadFile(src="a", dest="/master/a")))
    writer = slave.command.object("writer")
    slave.call(writer, "write", b"content")
    slave.call(writer, "close")
    slave.command.finish()
    driver.handle(StartStep(3, 1, Shell(command=("make", "check"))), AbandonStep(3))
    slave.command.update({"stdout": "bye\n"})
    slave.command.finish(1)
    changed = SlaveAccount("bot1", "secret", {"linux": "linux-dir", "new": "new"})
    driver.handle(Configure(configured(changed, BOT2, keepalive=KEEPALIVE)))
    other.holds = lambda heard: True
    driver.connect(generation, "bot2")
    driver.advance(CONFIG.silence)
    driver.handle(EndBuild(1), ShutDownSlave("bot1"))
    driver.lose(slave)
    driver.advance(KEEPALIVE + 100)
    return driver.inputs


def drain(session: MasterSession) -> list[object]:
    """Return all that comes out of a session's doors."""
    out: list[object] = [session.deadline, *session.requests()]
    for number in session.connections_to_send():
        out += [number, session.data_to_send(number), session.paused(number)]
    while (event := session.next_event()) is not None:
        out.append(event)
        if isinstance(event, StepFinished):
            out.append(session.output(event.step))
    return [*out, dict(session.census)]


def fed(inputs: Sequence[tuple[float, MasterInput]]) -> tuple[MasterSession, list[object]]:
    """Feed a new session; return it, and all that came out, after each input."""
    session = MasterSession(CONFIG)
    out: list[object] = []
    for now, item in inputs:
        try:
            session.handle(item, now=now)
        except LocalProtocolError as error:
            out.append(str(error))
        out += drain(session)
    return session, out


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_same_again(generation: str) -> None:
    inputs = conversation(generation)
    assert len(inputs) > 40
    assert fed(inputs)[1] == fed(inputs)[1]


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(GENERATIONS), st.data())
def test_the_same_again_of_lists_that_nobody_would_make(generation: str, data: st.DataObject) -> None:
    inputs = conversation(generation)
    left_out = data.draw(st.sets(st.integers(0, len(inputs) - 1), max_size=8))
    chosen = [entry for n, entry in enumerate(inputs) if n not in left_out]
    assert fed(chosen)[1] == fed(chosen)[1]


def sent(inputs: Sequence[tuple[float, MasterInput]]) -> tuple[bytes, list[object]]:
    """What all connections together were sent, and what was announced."""
    _, out = fed(inputs)
    data = b"".join(item for item in out if isinstance(item, bytes))
    return data, [
        event for event in out if isinstance(event, (SlaveAttached, SlaveDetached, BuildStarted, StepFinished))
    ]


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(GENERATIONS), st.integers(1, 60))
def test_the_pieces_in_which_bytes_come_make_no_difference(generation: str, size: int) -> None:
    inputs = conversation(generation)
    pieces: list[tuple[float, MasterInput]] = []
    for now, item in inputs:
        if isinstance(item, Received):
            for start in range(0, len(item.data), size):
                pieces.append((now, Received(item.connection, item.data[start : start + size])))
        else:
            pieces.append((now, item))
    assert sent(pieces) == sent(inputs)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_waking_it_too_early_changes_nothing(generation: str) -> None:
    inputs = conversation(generation)
    woken = [pair for now, item in inputs for pair in ((now, item), (now, Wakeup()))]
    assert sent(woken) == sent(inputs)


# -- breaking off anywhere


def lose_all(session: MasterSession, now: float) -> None:
    for number in CONNECTIONS:
        session.handle(Disconnected(number, "reset"), now=now)


def stop(session: MasterSession, now: float) -> None:
    session.handle(Stop("over"), now=now)


def fall_silent(session: MasterSession, now: float) -> None:
    """Nobody says anything any more. A user that only the program can know waits for the program."""
    for visit in list(session._peers.values()):
        if visit.state is PeerState.CHECKING:
            session.handle(AnswerAccount(visit.number, None), now=now)
    for _ in range(1000):
        if session.deadline is None:
            break
        now = max(now, session.deadline)
        session.handle(Wakeup(), now=now)


def spoil(session: MasterSession, now: float) -> None:
    for number in CONNECTIONS:
        with contextlib.suppress(LocalProtocolError):
            # If there was a handshake it is done, for it must not be spoilt so.
            session.handle(Secured(number), now=now)
        session.handle(Received(number, b"\xff" * 200), now=now)


@pytest.mark.parametrize("end", [lose_all, stop, fall_silent, spoil])
@pytest.mark.parametrize("generation", ["0.8.4", "4.3"])
def test_nothing_is_left_wherever_it_breaks_off(generation: str, end: Callable[[MasterSession, float], None]) -> None:
    inputs = conversation(generation)
    visits: set[PeerState] = set()
    builders: set[RemoteBuilderState] = set()
    for length in range(len(inputs) + 1):
        session = MasterSession(CONFIG)
        events: list[MasterEvent] = []
        for now, item in inputs[:length]:
            session.handle(item, now=now)
        now = inputs[max(length - 1, 0)][0]
        visits |= {visit.state for visit in session._peers.values()}
        holders = [place.holder for place in session._seats.values() if place.holder is not None]
        builders |= {builder.state for slave in holders for builder in slave.builders.values()}
        end(session, now)
        # What was asked of the host fails, and what is asked for then.
        while waiting := sorted(session._context.waiting):
            for request in waiting:
                session.handle(Rejected(request, HostError(5, "no more")), now=now)
        while (event := session.next_event()) is not None:
            events.append(event)
            if isinstance(event, StepFinished):
                session.output(event.step)
            elif isinstance(event, BuildLost):
                session.handle(EndBuild(event.build), now=now)
        left = {name: count for name, count in session.census.items() if count}
        assert left == {}, f"after {length} inputs"
        assert session.deadline is None
        check(events)
    # Without TLS, SECURING lasts no longer than the input that accepts the connection.
    assert visits >= set(PeerState) - {PeerState.SECURING, PeerState.GONE}
    expected = set(RemoteBuilderState) - {RemoteBuilderState.GONE, RemoteBuilderState.INTRODUCED}
    assert builders >= (expected | {RemoteBuilderState.INTRODUCED} if generation.startswith("0.8") else expected)


def check(events: list[MasterEvent]) -> None:
    """Everything that began has ended, once."""
    attached = [event.slave for event in events if isinstance(event, SlaveAttached)]
    detached = [event.slave for event in events if isinstance(event, SlaveDetached)]
    assert sorted(attached) == sorted(detached)
    lost = [event.build for event in events if isinstance(event, BuildLost)]
    assert len(lost) == len(set(lost))
    finished = [event.step for event in events if isinstance(event, StepFinished)]
    assert len(finished) == len(set(finished))


def test_the_answer_to_a_request_that_nobody_made() -> None:
    session = MasterSession(CONFIG)
    with pytest.raises(LocalProtocolError, match="there is no request 5 to report on"):
        session.handle(Rejected(5, HostError(5, "")), now=0.0)
