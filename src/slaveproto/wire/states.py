"""The tables of level one."""

from __future__ import annotations

from enum import auto

import attrs

from slaveproto.machine import Symbol, Table


class Negotiation(Symbol):
    """Where a connection is."""

    START = auto()
    OFFERED = auto()
    OPEN = auto()
    CLOSED = auto()


class Negotiating(Symbol):
    """What moves a connection."""

    OFFER = auto()
    CHOOSE = auto()
    MESSAGE = auto()
    END = auto()


NEGOTIATION_CLIENT: Table[Negotiation, Negotiating] = Table(
    name="connection",
    start=Negotiation.START,
    moves={
        Negotiation.START: {Negotiating.OFFER: Negotiation.OFFERED, Negotiating.END: Negotiation.CLOSED},
        Negotiation.OFFERED: {Negotiating.CHOOSE: Negotiation.OPEN, Negotiating.END: Negotiation.CLOSED},
        Negotiation.OPEN: {Negotiating.MESSAGE: Negotiation.OPEN, Negotiating.END: Negotiation.CLOSED},
        Negotiation.CLOSED: {},
    },
    theirs=frozenset({Negotiating.OFFER, Negotiating.MESSAGE}),
)
"""The server offers profiles, the client chooses one, then either side sends messages."""

NEGOTIATION_SERVER = attrs.evolve(NEGOTIATION_CLIENT, theirs=frozenset({Negotiating.CHOOSE, Negotiating.MESSAGE}))
"""The same agreement, with the blame as the server sees it."""


class Login(Symbol):
    """Where a client's login is."""

    NEW = auto()
    ASKED = auto()
    ANSWERED = auto()
    IN = auto()
    REFUSED = auto()


class LoggingIn(Symbol):
    """What moves a client's login."""

    ASK = auto()
    CHALLENGE = auto()
    ACCEPT = auto()
    REFUSE = auto()


LOGIN: Table[Login, LoggingIn] = Table(
    name="login",
    start=Login.NEW,
    moves={
        Login.NEW: {LoggingIn.ASK: Login.ASKED},
        Login.ASKED: {LoggingIn.CHALLENGE: Login.ANSWERED, LoggingIn.REFUSE: Login.REFUSED},
        Login.ANSWERED: {LoggingIn.ACCEPT: Login.IN, LoggingIn.REFUSE: Login.REFUSED},
        Login.IN: {},
        Login.REFUSED: {},
    },
    theirs=frozenset({LoggingIn.CHALLENGE, LoggingIn.ACCEPT, LoggingIn.REFUSE}),
)
"""Challenge and response. The master calls our mind long before it accepts."""
