"""The tables of level one."""

from __future__ import annotations

from enum import auto

import attrs

from slaveproto.machine import Symbol, Table


class NegotiationState(Symbol):
    """Where a connection is."""

    START = auto()
    OFFERED = auto()
    OPEN = auto()
    CLOSED = auto()


class NegotiationEvent(Symbol):
    """What moves a connection."""

    OFFER = auto()
    CHOOSE = auto()
    MESSAGE = auto()
    END = auto()


NEGOTIATION_CLIENT: Table[NegotiationState, NegotiationEvent] = Table(
    name="connection",
    start=NegotiationState.START,
    moves={
        NegotiationState.START: {
            NegotiationEvent.OFFER: NegotiationState.OFFERED,
            NegotiationEvent.END: NegotiationState.CLOSED,
        },
        NegotiationState.OFFERED: {
            NegotiationEvent.CHOOSE: NegotiationState.OPEN,
            NegotiationEvent.END: NegotiationState.CLOSED,
        },
        NegotiationState.OPEN: {
            NegotiationEvent.MESSAGE: NegotiationState.OPEN,
            NegotiationEvent.END: NegotiationState.CLOSED,
        },
        NegotiationState.CLOSED: {},
    },
    theirs=frozenset({NegotiationEvent.OFFER, NegotiationEvent.MESSAGE}),
)
"""The server offers profiles, the client chooses one, then either side sends messages."""

NEGOTIATION_SERVER = attrs.evolve(
    NEGOTIATION_CLIENT, theirs=frozenset({NegotiationEvent.CHOOSE, NegotiationEvent.MESSAGE})
)
"""The same agreement, with the blame as the server sees it."""


class LoginState(Symbol):
    """Where a client's login is."""

    NEW = auto()
    ASKED = auto()
    ANSWERED = auto()
    IN = auto()
    REFUSED = auto()


class LoginEvent(Symbol):
    """What moves a client's login."""

    ASK = auto()
    CHALLENGE = auto()
    ACCEPT = auto()
    REFUSE = auto()


LOGIN: Table[LoginState, LoginEvent] = Table(
    name="login",
    start=LoginState.NEW,
    moves={
        LoginState.NEW: {LoginEvent.ASK: LoginState.ASKED},
        LoginState.ASKED: {LoginEvent.CHALLENGE: LoginState.ANSWERED, LoginEvent.REFUSE: LoginState.REFUSED},
        LoginState.ANSWERED: {LoginEvent.ACCEPT: LoginState.IN, LoginEvent.REFUSE: LoginState.REFUSED},
        LoginState.IN: {},
        LoginState.REFUSED: {},
    },
    theirs=frozenset({LoginEvent.CHALLENGE, LoginEvent.ACCEPT, LoginEvent.REFUSE}),
)
"""Challenge and response. The master calls our mind long before it accepts."""
