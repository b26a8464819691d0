"""The tables of level two."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Machine, Table
from slaveproto.slave import states
from slaveproto.slave.states import (
    COMMAND,
    LINK,
    SLAVE_BUILDER,
    CommandEvent,
    CommandState,
    LinkEvent,
    LinkState,
    SlaveBuilderEvent,
    SlaveBuilderState,
)

TABLES: list[Table[Any, Any]] = [LINK, SLAVE_BUILDER, COMMAND]
EVENTS: dict[str, type[Enum]] = {
    LINK.name: LinkEvent,
    SLAVE_BUILDER.name: SlaveBuilderEvent,
    COMMAND.name: CommandEvent,
}


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
    for state in LinkState:
        machine = Machine(LINK)
        machine.state = state
        assert machine.can(LinkEvent.STOP) == (state is not LinkState.STOPPED)
        assert machine.can(LinkEvent.LOST) == (state not in (LinkState.IDLE, LinkState.WAITING, LinkState.STOPPED))


def test_builder_survives_the_end_of_a_connection_in_any_state() -> None:
    for state in (SlaveBuilderState.LISTED, SlaveBuilderState.READY, SlaveBuilderState.BUSY):
        machine = Machine(SLAVE_BUILDER)
        machine.state = state
        assert machine.fire(SlaveBuilderEvent.DETACH) is SlaveBuilderState.LISTED


@pytest.mark.parametrize("end", [CommandState.DONE, CommandState.DROPPED])
def test_step_ends_once(end: CommandState) -> None:
    machine = Machine(COMMAND)
    machine.state = end
    assert not any(machine.can(event) for event in CommandEvent)
