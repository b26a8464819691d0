"""The tables of level two."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Machine, Table
from slaveproto.slave import states
from slaveproto.slave.states import BUILDER, LINK, STEP, Builder, Building, Link, Linking, Step, Stepping

TABLES: list[Table[Any, Any]] = [LINK, BUILDER, STEP]
EVENTS: dict[str, type[Enum]] = {LINK.name: Linking, BUILDER.name: Building, STEP.name: Stepping}


def test_these_are_all() -> None:
    assert [table for table in vars(states).values() if isinstance(table, Table)] == TABLES


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_sound(table: Table[Any, Any]) -> None:
    assert table.problems() == []


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_each_event_in_each_state_moves_or_blames(table: Table[Any, Any]) -> None:
    for state in table.moves:
        for event in EVENTS[table.name]:
            machine = Machine(table)
            machine.state = state
            target = table.moves[state].get(event, table.tolerated.get(state, {}).get(event))
            assert machine.can(event) == (target is not None)
            if target is not None:
                assert machine.fire(event) is target
                continue
            blame = RemoteProtocolError if event in table.theirs else LocalProtocolError
            with pytest.raises(blame, match=f"{table.name}: {event.name} is not possible in {state.name}"):
                machine.fire(event)
            assert machine.state is state


def test_link_can_be_stopped_and_lost_at_any_time() -> None:
    for state in Link:
        machine = Machine(LINK)
        machine.state = state
        assert machine.can(Linking.STOP) == (state is not Link.STOPPED)
        assert machine.can(Linking.LOST) == (state not in (Link.IDLE, Link.WAITING, Link.STOPPED))


def test_builder_survives_the_end_of_a_connection_in_any_state() -> None:
    for state in (Builder.LISTED, Builder.READY, Builder.BUSY):
        machine = Machine(BUILDER)
        machine.state = state
        assert machine.fire(Building.DETACH) is Builder.LISTED


@pytest.mark.parametrize("end", [Step.DONE, Step.DROPPED])
def test_step_ends_once(end: Step) -> None:
    machine = Machine(STEP)
    machine.state = end
    assert not any(machine.can(event) for event in Stepping)
