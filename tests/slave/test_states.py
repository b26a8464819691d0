"""Tests of the tables of level two, as the slave sees them."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Machine, Table
from slaveproto.slave import states
from slaveproto.slave.states import (
    COMMAND,
    INTAKE,
    LINK,
    SLAVE_BUILDER,
    CommandEvent,
    CommandState,
    IntakeEvent,
    LinkEvent,
    LinkState,
    SlaveBuilderEvent,
    SlaveBuilderState,
)

TABLES: list[Table[Any, Any]] = [LINK, INTAKE, SLAVE_BUILDER, COMMAND]
LEAVING = (LinkState.LEAVING_EARLY, LinkState.LEAVING, LinkState.LEAVING_ALONE)
EVENTS: dict[str, type[Enum]] = {
    LINK.name: LinkEvent,
    INTAKE.name: IntakeEvent,
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
            if target is not None:
                assert machine.fire(event) is target
                continue
            blame = RemoteProtocolError if event in table.theirs else LocalProtocolError
            with pytest.raises(blame, match=f"{table.name}: {event.name} is not possible in {state.name}"):
                machine.fire(event)
            assert machine.state is state


def test_link_can_be_stopped_and_lost_at_any_time() -> None:
    for state, row in LINK.moves.items():
        assert row[LinkEvent.STOP] is LinkState.STOPPED
        assert (LinkEvent.LOST in row) == (state not in (LinkState.IDLE, LinkState.WAITING, LinkState.STOPPED))


def test_slave_that_wants_to_go_stops_where_there_is_no_master_to_ask() -> None:
    asked = {LinkState.LOGGING_IN: LinkState.LEAVING_EARLY, LinkState.ATTACHED: LinkState.LEAVING}
    asked |= {state: state for state in LEAVING}
    for state, row in LINK.moves.items():
        assert row[LinkEvent.ASK_SHUTDOWN] is asked.get(state, LinkState.STOPPED)


def test_slave_that_leaves_has_no_way_but_the_end() -> None:
    for state in LEAVING:
        assert set(LINK.moves[state].values()) <= {*LEAVING, LinkState.STOPPED}
        assert LINK.moves[state][LinkEvent.LOST] is LinkState.STOPPED


def test_link_that_stopped_never_leaves() -> None:
    assert set(LINK.moves[LinkState.STOPPED].values()) == {LinkState.STOPPED}


def test_builder_survives_the_end_of_a_connection_in_any_state() -> None:
    for state in (SlaveBuilderState.LISTED, SlaveBuilderState.READY, SlaveBuilderState.BUSY):
        machine = Machine(SLAVE_BUILDER)
        machine.state = state
        assert machine.fire(SlaveBuilderEvent.DETACH) is SlaveBuilderState.LISTED


@pytest.mark.parametrize("end", [CommandState.DONE, CommandState.DROPPED])
def test_command_ends_once(end: CommandState) -> None:
    assert not COMMAND.moves[end]
    assert end not in COMMAND.tolerated
