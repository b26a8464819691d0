"""The tables of a stream that outlives its carriers.

Rules. A row says where an event leads, and an event without a row is illegal; its blame is in `theirs`.
"""

from __future__ import annotations

from enum import auto

from slaveproto.machine import Symbol, Table


class StreamState(Symbol):
    """The states of a stream, at one end."""

    OPENING = auto()
    CARRYING = auto()
    CUT = auto()
    RESUMING = auto()
    CLOSING = auto()
    CLOSED = auto()
    EXPIRED = auto()


class StreamEvent(Symbol):
    """The events of a stream."""

    CARRIER = auto()
    PROVEN = auto()
    REFUSED = auto()
    LOST = auto()
    BOTH_ENDED = auto()
    ALL_ARRIVED = auto()
    RESET = auto()
    ABORT = auto()
    EXPIRE = auto()


STREAM: Table[StreamState, StreamEvent] = Table(
    name="stream",
    start=StreamState.OPENING,
    moves={
        # Without a first carrier there is nothing to resume.
        StreamState.OPENING: {
            StreamEvent.PROVEN: StreamState.CARRYING,
            StreamEvent.REFUSED: StreamState.CLOSED,
            StreamEvent.LOST: StreamState.CLOSED,
            StreamEvent.ABORT: StreamState.CLOSED,
        },
        StreamState.CARRYING: {
            StreamEvent.LOST: StreamState.CUT,
            StreamEvent.BOTH_ENDED: StreamState.CLOSING,
            StreamEvent.RESET: StreamState.CLOSED,
            StreamEvent.ABORT: StreamState.CLOSED,
        },
        StreamState.CUT: {
            StreamEvent.CARRIER: StreamState.RESUMING,
            StreamEvent.ABORT: StreamState.CLOSED,
            StreamEvent.EXPIRE: StreamState.EXPIRED,
        },
        StreamState.RESUMING: {
            StreamEvent.PROVEN: StreamState.CARRYING,
            StreamEvent.REFUSED: StreamState.CLOSED,
            StreamEvent.LOST: StreamState.CUT,
            StreamEvent.ABORT: StreamState.CLOSED,
            StreamEvent.EXPIRE: StreamState.EXPIRED,
        },
        # What was sent may still be missing over there.
        StreamState.CLOSING: {
            StreamEvent.LOST: StreamState.CUT,
            StreamEvent.ALL_ARRIVED: StreamState.CLOSED,
            StreamEvent.RESET: StreamState.CLOSED,
            StreamEvent.ABORT: StreamState.CLOSED,
        },
        StreamState.CLOSED: {},
        StreamState.EXPIRED: {},
    },
    theirs=frozenset({StreamEvent.PROVEN, StreamEvent.REFUSED, StreamEvent.RESET}),
)
"""CARRIER is a new connection, PROVEN the end of its handshake, LOST its end. The stream itself ends when both
directions have ended and all has arrived, when either side gives it up, or when the other one stays away for long."""


class DirectionState(Symbol):
    """The states of one direction of a stream."""

    FLOWING = auto()
    ENDED = auto()


class DirectionEvent(Symbol):
    """The events of one direction."""

    DATA = auto()
    END = auto()


ARRIVING: Table[DirectionState, DirectionEvent] = Table(
    name="arriving",
    start=DirectionState.FLOWING,
    moves={
        DirectionState.FLOWING: {
            DirectionEvent.DATA: DirectionState.FLOWING,
            DirectionEvent.END: DirectionState.ENDED,
        },
        DirectionState.ENDED: {},
    },
    theirs=frozenset({DirectionEvent.DATA, DirectionEvent.END}),
)
"""Bytes of the other end."""

LEAVING: Table[DirectionState, DirectionEvent] = Table(
    name="leaving",
    start=DirectionState.FLOWING,
    moves={
        DirectionState.FLOWING: {
            DirectionEvent.DATA: DirectionState.FLOWING,
            DirectionEvent.END: DirectionState.ENDED,
        },
        DirectionState.ENDED: {},
    },
)
"""Bytes of this end. The end of one direction leaves the other one open."""


class ClientCarrierState(Symbol):
    """The states of a carrier, at the end that connects."""

    CONNECTING = auto()
    AWAITING_OFFER = auto()
    AWAITING_CHALLENGE = auto()
    AWAITING_WELCOME = auto()
    PROVEN = auto()
    PLAIN = auto()
    OVER = auto()


class ClientCarrierEvent(Symbol):
    """The events of a carrier, at the end that connects."""

    CONNECTED = auto()
    OFFER = auto()
    OTHER_OFFER = auto()
    CHALLENGE = auto()
    WELCOME = auto()
    REFUSAL = auto()
    LOST = auto()


CLIENT_CARRIER: Table[ClientCarrierState, ClientCarrierEvent] = Table(
    name="carrier (client)",
    start=ClientCarrierState.CONNECTING,
    moves={
        ClientCarrierState.CONNECTING: {
            ClientCarrierEvent.CONNECTED: ClientCarrierState.AWAITING_OFFER,
            ClientCarrierEvent.LOST: ClientCarrierState.OVER,
        },
        ClientCarrierState.AWAITING_OFFER: {
            ClientCarrierEvent.OFFER: ClientCarrierState.AWAITING_CHALLENGE,
            ClientCarrierEvent.OTHER_OFFER: ClientCarrierState.PLAIN,
            ClientCarrierEvent.LOST: ClientCarrierState.OVER,
        },
        ClientCarrierState.AWAITING_CHALLENGE: {
            ClientCarrierEvent.CHALLENGE: ClientCarrierState.AWAITING_WELCOME,
            ClientCarrierEvent.REFUSAL: ClientCarrierState.OVER,
            ClientCarrierEvent.LOST: ClientCarrierState.OVER,
        },
        ClientCarrierState.AWAITING_WELCOME: {
            ClientCarrierEvent.WELCOME: ClientCarrierState.PROVEN,
            ClientCarrierEvent.REFUSAL: ClientCarrierState.OVER,
            ClientCarrierEvent.LOST: ClientCarrierState.OVER,
        },
        ClientCarrierState.PROVEN: {ClientCarrierEvent.LOST: ClientCarrierState.OVER},
        ClientCarrierState.PLAIN: {},
        ClientCarrierState.OVER: {},
    },
    theirs=frozenset(
        {
            ClientCarrierEvent.OFFER,
            ClientCarrierEvent.OTHER_OFFER,
            ClientCarrierEvent.CHALLENGE,
            ClientCarrierEvent.WELCOME,
            ClientCarrierEvent.REFUSAL,
        }
    ),
)
"""PLAIN: the server speaks Perspective Broker and nothing else; its bytes are the owner's from then on."""


class ServerCarrierState(Symbol):
    """The states of a carrier, at the end that listens."""

    OFFERED = auto()
    CHALLENGED = auto()
    PROVEN = auto()
    PLAIN = auto()
    OVER = auto()


class ServerCarrierEvent(Symbol):
    """The events of a carrier, at the end that listens."""

    CHOICE = auto()
    OTHER_CHOICE = auto()
    HELLO = auto()
    FALSE_HELLO = auto()
    LOST = auto()


SERVER_CARRIER: Table[ServerCarrierState, ServerCarrierEvent] = Table(
    name="carrier (server)",
    start=ServerCarrierState.OFFERED,
    moves={
        ServerCarrierState.OFFERED: {
            ServerCarrierEvent.CHOICE: ServerCarrierState.CHALLENGED,
            ServerCarrierEvent.OTHER_CHOICE: ServerCarrierState.PLAIN,
            ServerCarrierEvent.LOST: ServerCarrierState.OVER,
        },
        ServerCarrierState.CHALLENGED: {
            ServerCarrierEvent.HELLO: ServerCarrierState.PROVEN,
            ServerCarrierEvent.FALSE_HELLO: ServerCarrierState.OVER,
            ServerCarrierEvent.LOST: ServerCarrierState.OVER,
        },
        ServerCarrierState.PROVEN: {ServerCarrierEvent.LOST: ServerCarrierState.OVER},
        ServerCarrierState.PLAIN: {},
        ServerCarrierState.OVER: {},
    },
    theirs=frozenset(
        {
            ServerCarrierEvent.CHOICE,
            ServerCarrierEvent.OTHER_CHOICE,
            ServerCarrierEvent.HELLO,
            ServerCarrierEvent.FALSE_HELLO,
        }
    ),
)
"""PLAIN: the client speaks Perspective Broker; its bytes are the owner's from then on."""
