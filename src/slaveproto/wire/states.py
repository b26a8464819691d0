"""The tables of level one: the negotiation of a connection, and the login as either side sees it.

A client's login and a server's are two tables, because their blame differs, and because a server takes attempts that no
client of ours makes.
"""

from __future__ import annotations

from enum import auto

import attrs

from slaveproto.machine import Symbol, Table


class NegotiationState(Symbol):
    """States of a connection."""

    START = auto()
    OFFERED = auto()
    OPEN = auto()
    CLOSED = auto()


class NegotiationEvent(Symbol):
    """Events of a connection."""

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
    """States of a client's login."""

    NEW = auto()
    ASKED = auto()
    ANSWERED = auto()
    IN = auto()
    REFUSED = auto()


class LoginEvent(Symbol):
    """Events of a client's login."""

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
"""Challenge and response. The server may call the mind long before it accepts."""


class ServerLoginState(Symbol):
    """States of a server's login."""

    IDLE = auto()
    CHALLENGED = auto()
    CHECKING = auto()
    IN = auto()
    REFUSED = auto()


class ServerLoginEvent(Symbol):
    """Events of a server's login."""

    LOGIN = auto()
    RESPOND = auto()
    ANONYMOUS = auto()
    ACCEPT = auto()
    REFUSE = auto()


SERVER_LOGIN: Table[ServerLoginState, ServerLoginEvent] = Table(
    name="login (server)",
    start=ServerLoginState.IDLE,
    moves={
        ServerLoginState.IDLE: {
            ServerLoginEvent.LOGIN: ServerLoginState.CHALLENGED,
            ServerLoginEvent.ANONYMOUS: ServerLoginState.CHECKING,
        },
        ServerLoginState.CHALLENGED: {ServerLoginEvent.RESPOND: ServerLoginState.CHECKING},
        # CHECKING may take its time: the answer may have to be looked up.
        ServerLoginState.CHECKING: {
            ServerLoginEvent.ACCEPT: ServerLoginState.IN,
            ServerLoginEvent.REFUSE: ServerLoginState.REFUSED,
        },
        ServerLoginState.IN: {},
        ServerLoginState.REFUSED: {},
    },
    tolerated={
        # A client of Twisted may ask twice before it responds, and try again after a refusal.
        ServerLoginState.CHALLENGED: {
            ServerLoginEvent.LOGIN: ServerLoginState.CHALLENGED,
            ServerLoginEvent.ANONYMOUS: ServerLoginState.CHECKING,
        },
        ServerLoginState.REFUSED: {
            ServerLoginEvent.LOGIN: ServerLoginState.CHALLENGED,
            ServerLoginEvent.ANONYMOUS: ServerLoginState.CHECKING,
        },
    },
    theirs=frozenset({ServerLoginEvent.LOGIN, ServerLoginEvent.RESPOND, ServerLoginEvent.ANONYMOUS}),
)
"""One attempt at a time. The root object takes LOGIN and ANONYMOUS, the challenger takes RESPOND."""
