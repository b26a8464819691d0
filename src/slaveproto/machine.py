"""Transition tables as data, and the machine that walks one.

Two rules. A table is literal: states, events and rows, no functions. Leniency towards real peers is a row under
`tolerated`, drawn dotted, never a condition elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

import attrs

from slaveproto.errors import LocalProtocolError, RemoteProtocolError


class Symbol(Enum):
    """A state or an event. Enum hashes by name, which costs more than all the rest of a move."""

    __hash__ = object.__hash__


S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


@attrs.frozen(eq=False)
class Table(Generic[S, E]):
    """The agreement about one kind of thing that both sides hold a copy of.

    Args:
        name: the title of the drawing.
        start: the first state.
        moves: state -> event -> next state. A state with an empty row is an end.
        theirs: the events that the peer causes; an illegal one is the peer's fault.
        tolerated: rows like `moves` that real peers need although the protocol does not mean them. Only events of
            the peer may stand here.
    """

    name: str
    start: S
    moves: Mapping[S, Mapping[E, S]]
    theirs: frozenset[E] = frozenset()
    tolerated: Mapping[S, Mapping[E, S]] = attrs.field(factory=dict)

    def next_state(self, state: S, event: E) -> S:
        """Return where `event` leads from `state`.

        Raises:
            RemoteProtocolError: no such row, and the event is the peer's.
            LocalProtocolError: no such row, and the event is ours.
        """
        target = self.moves[state].get(event)
        if target is None:
            target = self.tolerated.get(state, {}).get(event)
        if target is None:
            blame = RemoteProtocolError if event in self.theirs else LocalProtocolError
            raise blame(f"{self.name}: {event.name} is not possible in {state.name}")
        return target

    def problems(self) -> list[str]:
        """Say what is wrong with the table itself; empty when it is sound."""
        found = [f"{state.name} has no row" for state in type(self.start) if state not in self.moves]
        reached = {self.start}
        frontier = [self.start]
        while frontier:
            state = frontier.pop()
            for row in (self.moves.get(state, {}), self.tolerated.get(state, {})):
                new = set(row.values()) - reached
                reached |= new
                frontier += new
        found += [f"{state.name} cannot be reached" for state in self.moves if state not in reached]
        for state, row in self.tolerated.items():
            for event in row:
                if event not in self.theirs:
                    found.append(f"{state.name} tolerates {event.name}, which is ours")
                if event in self.moves.get(state, {}):
                    found.append(f"{state.name} both means and tolerates {event.name}")
        return found


class Machine(Generic[S, E]):
    """A table and the state in which one thing is."""

    __slots__ = ("state", "table")

    def __init__(self, table: Table[S, E]) -> None:
        self.table = table
        self.state: S = table.start

    def fire(self, event: E) -> S:
        """Move along `event` and return the new state; raises as `Table.next_state` and then stays put."""
        self.state = self.table.next_state(self.state, event)
        return self.state

    @property
    def over(self) -> bool:
        """Whether the state is an end: the protocol means no event there any more."""
        return not self.table.moves[self.state]
