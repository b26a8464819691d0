"""Tests that a session is a function of its inputs: the same list gives the same outputs, and it has no clock."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto import SlaveSession
from slaveproto.inputs import Received, Wakeup
from slaveproto.slave.events import Connected, Input
from slaveproto.testing import SessionDriver
from tests.slave.support import CONFIG, GENERATIONS, INFO
from tests.slave.test_lost import converse, converse_briefly

pytestmark = pytest.mark.campaigns


def outputs(inputs: Sequence[tuple[float, Input]]) -> list[object]:
    """Feed a new session and return all that came out of its doors, after each input."""
    session = SlaveSession(CONFIG, INFO, lambda delay: delay)
    out: list[object] = []
    for now, item in inputs:
        session.handle(item, now=now)
        out += [session.state, session.congested, session.requests(), session.data_to_send(), session.deadline]
        while (event := session.next_event()) is not None:
            out.append(event)
        out.append(session.finished)
    return out


def recorded(generation: str, *, brief: bool = False) -> list[tuple[float, Input]]:
    driver = SessionDriver(CONFIG, INFO)
    (converse_briefly if brief else converse)(driver, generation)
    return driver.inputs


CONVERSATIONS = {generation: recorded(generation) for generation in GENERATIONS}
BRIEF = {generation: recorded(generation, brief=True) for generation in GENERATIONS}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GENERATIONS), st.data())
def test_same_inputs_same_outputs(generation: str, data: st.DataObject) -> None:
    """Also for lists that no runner would make: with parts left out, or told twice where that is allowed."""
    inputs = CONVERSATIONS[generation]
    length = data.draw(st.integers(0, len(inputs)))
    doubled = data.draw(st.sets(st.integers(0, len(inputs)), max_size=5))
    chosen: list[tuple[float, Input]] = []
    for n, (now, item) in enumerate(inputs[:length]):
        chosen.append((now, item))
        if n in doubled and not isinstance(item, (Received, Connected)):
            chosen.append((now, Wakeup()))
    assert outputs(chosen) == outputs(chosen)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GENERATIONS), st.lists(st.integers(0, 10_000), max_size=30))
def test_pieces_in_which_bytes_come_make_no_difference(generation: str, places: list[int]) -> None:
    whole = BRIEF[generation]
    pieces: list[tuple[float, Input]] = []
    position = 0
    total = sum(len(item.data) for _, item in whole if isinstance(item, Received))
    cuts = {place % total for place in places}
    for now, item in whole:
        if not isinstance(item, Received):
            pieces.append((now, item))
            continue
        start = 0
        for n in range(1, len(item.data) + 1):
            if position + n in cuts or n == len(item.data):
                pieces.append((now, Received(item.connection, item.data[start:n])))
                start = n
        position += len(item.data)
    assert _sent(pieces) == _sent(whole)


def _sent(inputs: Sequence[tuple[float, Input]]) -> tuple[bytes, list[object]]:
    out = outputs(inputs)
    data = b"".join(item for item in out if isinstance(item, bytes))
    requests = [request for item in out if isinstance(item, list) for request in item]
    return data, requests


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(GENERATIONS), st.sets(st.integers(0, 100), max_size=20))
def test_waking_it_too_early_changes_nothing(generation: str, where: set[int]) -> None:
    inputs = CONVERSATIONS[generation]
    woken: list[tuple[float, Input]] = []
    for n, (now, item) in enumerate(inputs):
        woken.append((now, item))
        if n in where:
            woken.append((now, Wakeup()))
    assert _sent(woken) == _sent(inputs)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(GENERATIONS), st.floats(-1e6, 1e6))
def test_only_differences_of_time_count(generation: str, shift: float) -> None:
    shift = round(shift)
    inputs = CONVERSATIONS[generation]
    shifted = [(now + shift, item) for now, item in inputs]
    assert len(_sent(shifted)[0]) == len(_sent(inputs)[0])
    assert _sent(shifted)[1] == _sent(inputs)[1]
