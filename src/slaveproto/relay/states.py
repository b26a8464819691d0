"""The tables of a relay.

Rules. A row says where an event leads, and an event without a row is illegal; its blame is in `theirs`.
"""

from __future__ import annotations

from enum import auto

from slaveproto.machine import Symbol, Table


class PairState(Symbol):
    """The states of a pair."""

    REACHING = auto()
    AWAITING_GREETING = auto()
    OPEN = auto()
    OVER = auto()


class PairEvent(Symbol):
    """The events of a pair."""

    REACHED = auto()
    REACHED_FOR_PLAIN = auto()
    GREETING = auto()
    END = auto()


PAIR: Table[PairState, PairEvent] = Table(
    name="pair",
    start=PairState.REACHING,
    moves={
        PairState.REACHING: {
            PairEvent.REACHED: PairState.OPEN,
            PairEvent.REACHED_FOR_PLAIN: PairState.AWAITING_GREETING,
            PairEvent.END: PairState.OVER,
        },
        PairState.AWAITING_GREETING: {
            PairEvent.GREETING: PairState.OPEN,
            PairEvent.END: PairState.OVER,
        },
        PairState.OPEN: {PairEvent.END: PairState.OVER},
        PairState.OVER: {},
    },
    theirs=frozenset({PairEvent.GREETING}),
)
"""A plain slave beside a master was greeted by the relay, so the greeting of the master is swallowed."""


class WritingState(Symbol):
    """The states of what a plain connection is sent."""

    OPEN = auto()
    ENDING = auto()
    SHUT = auto()


class WritingEvent(Symbol):
    """The events of what a plain connection is sent."""

    END = auto()
    SHUT = auto()


WRITING: Table[WritingState, WritingEvent] = Table(
    name="writing",
    start=WritingState.OPEN,
    moves={
        WritingState.OPEN: {WritingEvent.END: WritingState.ENDING},
        WritingState.ENDING: {WritingEvent.SHUT: WritingState.SHUT},
        WritingState.SHUT: {},
    },
)
"""END is the end of what the partner brings, SHUT comes when all of it is out."""
