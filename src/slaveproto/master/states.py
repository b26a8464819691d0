"""The tables of the master's side. Each is an agreement of master and slave, seen from the master."""

from __future__ import annotations

from enum import auto

from slaveproto.machine import Symbol, Table


class PeerState(Symbol):
    """Where one connection is."""

    SECURING = auto()
    NEGOTIATING = auto()
    OPEN = auto()
    CHALLENGED = auto()
    CHECKING = auto()
    CONTENDING = auto()
    ATTACHING = auto()
    ADMITTED = auto()
    REFUSED = auto()
    GONE = auto()


class PeerEvent(Symbol):
    """What moves a connection."""

    SECURED = auto()
    OPENED = auto()
    LOGIN = auto()
    ANONYMOUS = auto()
    RESPOND = auto()
    CONTEND = auto()
    ATTACH = auto()
    ADMIT = auto()
    REFUSE = auto()
    END = auto()


PEER: Table[PeerState, PeerEvent] = Table(
    name="visit",
    start=PeerState.SECURING,
    moves={
        # A connection without TLS is secured, in this sense, from its first moment.
        PeerState.SECURING: {PeerEvent.SECURED: PeerState.NEGOTIATING, PeerEvent.END: PeerState.GONE},
        PeerState.NEGOTIATING: {PeerEvent.OPENED: PeerState.OPEN, PeerEvent.END: PeerState.GONE},
        PeerState.OPEN: {
            PeerEvent.LOGIN: PeerState.CHALLENGED,
            PeerEvent.ANONYMOUS: PeerState.REFUSED,
            PeerEvent.END: PeerState.GONE,
        },
        PeerState.CHALLENGED: {PeerEvent.RESPOND: PeerState.CHECKING, PeerEvent.END: PeerState.GONE},
        # CHECKING may take its time: the program may have to be asked who that is.
        PeerState.CHECKING: {
            PeerEvent.REFUSE: PeerState.REFUSED,
            PeerEvent.CONTEND: PeerState.CONTENDING,
            PeerEvent.ATTACH: PeerState.ATTACHING,
            PeerEvent.ADMIT: PeerState.ADMITTED,
            PeerEvent.END: PeerState.GONE,
        },
        PeerState.CONTENDING: {
            PeerEvent.ATTACH: PeerState.ATTACHING,
            PeerEvent.REFUSE: PeerState.REFUSED,
            PeerEvent.END: PeerState.GONE,
        },
        PeerState.ATTACHING: {PeerEvent.ADMIT: PeerState.ADMITTED, PeerEvent.END: PeerState.GONE},
        PeerState.ADMITTED: {PeerEvent.END: PeerState.GONE},
        PeerState.REFUSED: {PeerEvent.END: PeerState.GONE},
        PeerState.GONE: {},
    },
    tolerated={
        # A client of Twisted may ask twice before it responds, and try again after a refusal.
        PeerState.CHALLENGED: {PeerEvent.LOGIN: PeerState.CHALLENGED, PeerEvent.ANONYMOUS: PeerState.REFUSED},
        PeerState.REFUSED: {PeerEvent.LOGIN: PeerState.CHALLENGED, PeerEvent.ANONYMOUS: PeerState.REFUSED},
    },
    theirs=frozenset({PeerEvent.OPENED, PeerEvent.LOGIN, PeerEvent.ANONYMOUS, PeerEvent.RESPOND}),
)
"""The handshake of TLS, negotiation, login, perspective. A slave is attached before its login is answered."""


class SeatState(Symbol):
    """Whether somebody goes by the name of a slave."""

    EMPTY = auto()
    TAKEN = auto()
    CONTESTED = auto()


class SeatEvent(Symbol):
    """What moves a seat."""

    CLAIM = auto()
    CONTEND = auto()
    ALIVE = auto()
    LEAVE = auto()
    WITHDRAW = auto()


SEAT: Table[SeatState, SeatEvent] = Table(
    name="seat",
    start=SeatState.EMPTY,
    moves={
        SeatState.EMPTY: {SeatEvent.CLAIM: SeatState.TAKEN},
        SeatState.TAKEN: {SeatEvent.CONTEND: SeatState.CONTESTED, SeatEvent.LEAVE: SeatState.EMPTY},
        # ALIVE: the holder answered, the contender is refused. LEAVE: the holder is gone, or was closed because it did
        # not answer, and the seat is the contender's. CONTEND: a newer contender takes the older one's place.
        SeatState.CONTESTED: {
            SeatEvent.ALIVE: SeatState.TAKEN,
            SeatEvent.LEAVE: SeatState.TAKEN,
            SeatEvent.WITHDRAW: SeatState.TAKEN,
            SeatEvent.CONTEND: SeatState.CONTESTED,
        },
    },
    theirs=frozenset({SeatEvent.ALIVE}),
)
"""One name, one holder, at most one contender. The holder may be attached or on its way to that."""


class AttachState(Symbol):
    """Where the attaching of one slave is."""

    ASKING = auto()
    ASKING_OLD = auto()
    LISTING = auto()
    INTRODUCING = auto()
    ATTACHED = auto()
    GONE = auto()


class AttachEvent(Symbol):
    """What moves it."""

    WORKER_INFO = auto()
    NO_WORKER_INFO = auto()
    SLAVE_INFO = auto()
    LISTED = auto()
    INTRODUCED = auto()
    END = auto()


ATTACH: Table[AttachState, AttachEvent] = Table(
    name="attach",
    start=AttachState.ASKING,
    moves={
        AttachState.ASKING: {
            AttachEvent.WORKER_INFO: AttachState.LISTING,
            AttachEvent.NO_WORKER_INFO: AttachState.ASKING_OLD,
            AttachEvent.END: AttachState.GONE,
        },
        AttachState.ASKING_OLD: {AttachEvent.SLAVE_INFO: AttachState.LISTING, AttachEvent.END: AttachState.GONE},
        AttachState.LISTING: {AttachEvent.LISTED: AttachState.INTRODUCING, AttachEvent.END: AttachState.GONE},
        AttachState.INTRODUCING: {AttachEvent.INTRODUCED: AttachState.ATTACHED, AttachEvent.END: AttachState.GONE},
        AttachState.ATTACHED: {AttachEvent.END: AttachState.GONE},
        AttachState.GONE: {},
    },
    theirs=frozenset(
        {
            AttachEvent.WORKER_INFO,
            AttachEvent.NO_WORKER_INFO,
            AttachEvent.SLAVE_INFO,
            AttachEvent.LISTED,
            AttachEvent.INTRODUCED,
        }
    ),
)
"""ASKING: `print` and `getWorkerInfo`; ASKING_OLD: `getSlaveInfo`, `getCommands` and `getVersion`; LISTING:
`setBuilderList`; INTRODUCING: `setMaster` and `print` on every builder of a slave before 0.9. The calls of one state
leave together. Any failure is END, and closes the connection."""


class RemoteBuilderState(Symbol):
    """Where a slave builder is, for the master."""

    LISTED = auto()
    INTRODUCED = auto()
    IDLE = auto()
    PINGING = auto()
    STARTING = auto()
    BUILDING = auto()
    COMMANDING = auto()
    GONE = auto()


class RemoteBuilderEvent(Symbol):
    """What moves it."""

    FOUND = auto()
    READY = auto()
    PING = auto()
    PONG = auto()
    STARTED = auto()
    NOT_STARTED = auto()
    START_STEP = auto()
    STEP_OVER = auto()
    END_BUILD = auto()
    UNLIST = auto()
    LOSE = auto()


REMOTE_BUILDER: Table[RemoteBuilderState, RemoteBuilderEvent] = Table(
    name="slave builder (master)",
    start=RemoteBuilderState.LISTED,
    moves={
        RemoteBuilderState.LISTED: {
            RemoteBuilderEvent.FOUND: RemoteBuilderState.INTRODUCED,
            RemoteBuilderEvent.UNLIST: RemoteBuilderState.GONE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        RemoteBuilderState.INTRODUCED: {
            RemoteBuilderEvent.READY: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.UNLIST: RemoteBuilderState.GONE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        RemoteBuilderState.IDLE: {
            RemoteBuilderEvent.PING: RemoteBuilderState.PINGING,
            RemoteBuilderEvent.UNLIST: RemoteBuilderState.GONE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        RemoteBuilderState.PINGING: {
            RemoteBuilderEvent.PONG: RemoteBuilderState.STARTING,
            RemoteBuilderEvent.END_BUILD: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        RemoteBuilderState.STARTING: {
            RemoteBuilderEvent.STARTED: RemoteBuilderState.BUILDING,
            RemoteBuilderEvent.NOT_STARTED: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.END_BUILD: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        RemoteBuilderState.BUILDING: {
            RemoteBuilderEvent.START_STEP: RemoteBuilderState.COMMANDING,
            RemoteBuilderEvent.END_BUILD: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        # A build cannot end under a command: a slave runs one at a time, and would drop it for the next.
        RemoteBuilderState.COMMANDING: {
            RemoteBuilderEvent.STEP_OVER: RemoteBuilderState.BUILDING,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        RemoteBuilderState.GONE: {},
    },
    theirs=frozenset(
        {
            RemoteBuilderEvent.FOUND,
            RemoteBuilderEvent.READY,
            RemoteBuilderEvent.PONG,
            RemoteBuilderEvent.STARTED,
            RemoteBuilderEvent.NOT_STARTED,
        }
    ),
)
"""A builder that is busy is never unlisted: a slave sends no `complete` for a builder that is gone."""


class RemoteCommandState(Symbol):
    """Where one command is, for the master."""

    SENT = auto()
    RUNNING = auto()
    INTERRUPTING = auto()
    DONE = auto()
    LOST = auto()


class RemoteCommandEvent(Symbol):
    """What moves it."""

    STARTED = auto()
    REFUSED = auto()
    UPDATE = auto()
    COMPLETE = auto()
    INTERRUPT = auto()
    LOSE = auto()


REMOTE_COMMAND: Table[RemoteCommandState, RemoteCommandEvent] = Table(
    name="remote command",
    start=RemoteCommandState.SENT,
    moves={
        # A slave may say all it has to say before it answers `startCommand`.
        RemoteCommandState.SENT: {
            RemoteCommandEvent.STARTED: RemoteCommandState.RUNNING,
            RemoteCommandEvent.REFUSED: RemoteCommandState.DONE,
            RemoteCommandEvent.UPDATE: RemoteCommandState.SENT,
            RemoteCommandEvent.COMPLETE: RemoteCommandState.DONE,
            RemoteCommandEvent.INTERRUPT: RemoteCommandState.INTERRUPTING,
            RemoteCommandEvent.LOSE: RemoteCommandState.LOST,
        },
        RemoteCommandState.RUNNING: {
            RemoteCommandEvent.UPDATE: RemoteCommandState.RUNNING,
            RemoteCommandEvent.COMPLETE: RemoteCommandState.DONE,
            RemoteCommandEvent.INTERRUPT: RemoteCommandState.INTERRUPTING,
            RemoteCommandEvent.LOSE: RemoteCommandState.LOST,
        },
        RemoteCommandState.INTERRUPTING: {
            RemoteCommandEvent.STARTED: RemoteCommandState.INTERRUPTING,
            RemoteCommandEvent.REFUSED: RemoteCommandState.DONE,
            RemoteCommandEvent.UPDATE: RemoteCommandState.INTERRUPTING,
            RemoteCommandEvent.COMPLETE: RemoteCommandState.DONE,
            RemoteCommandEvent.INTERRUPT: RemoteCommandState.INTERRUPTING,
            RemoteCommandEvent.LOSE: RemoteCommandState.LOST,
        },
        RemoteCommandState.DONE: {},
        RemoteCommandState.LOST: {},
    },
    tolerated={
        # The answer to `startCommand` may come after `complete`. Slaves of 0.8 send what is left of a dropped command
        # to whoever listens then, so that there may be more after the end, and a second end.
        RemoteCommandState.DONE: {
            RemoteCommandEvent.STARTED: RemoteCommandState.DONE,
            RemoteCommandEvent.REFUSED: RemoteCommandState.DONE,
            RemoteCommandEvent.UPDATE: RemoteCommandState.DONE,
            RemoteCommandEvent.COMPLETE: RemoteCommandState.DONE,
        },
    },
    theirs=frozenset(
        {RemoteCommandEvent.STARTED, RemoteCommandEvent.REFUSED, RemoteCommandEvent.UPDATE, RemoteCommandEvent.COMPLETE}
    ),
)
"""Only `complete` ends a command: updates follow after `rc`, too."""


class DepartureState(Symbol):
    """Whether a slave is on its way out."""

    STAYING = auto()
    LEAVING = auto()
    ASKED = auto()
    ASKED_BUILDER = auto()


class DepartureEvent(Symbol):
    """What moves it."""

    WANT = auto()
    ASK = auto()
    NO_METHOD = auto()


DEPARTURE: Table[DepartureState, DepartureEvent] = Table(
    name="departure",
    start=DepartureState.STAYING,
    moves={
        DepartureState.STAYING: {DepartureEvent.WANT: DepartureState.LEAVING},
        DepartureState.LEAVING: {DepartureEvent.WANT: DepartureState.LEAVING, DepartureEvent.ASK: DepartureState.ASKED},
        DepartureState.ASKED: {
            DepartureEvent.WANT: DepartureState.ASKED,
            DepartureEvent.NO_METHOD: DepartureState.ASKED_BUILDER,
        },
        DepartureState.ASKED_BUILDER: {DepartureEvent.WANT: DepartureState.ASKED_BUILDER},
    },
    theirs=frozenset({DepartureEvent.NO_METHOD}),
)
"""LEAVING: no new builds; ASKED: `shutdown` was called on the bot, as soon as no builder was busy; ASKED_BUILDER: on a
builder, for slaves before 0.8.3. It ends with the connection."""


class TransferState(Symbol):
    """Where a file on its way is."""

    OPEN = auto()
    CLOSED = auto()
    BROKEN = auto()


class TransferEvent(Symbol):
    """What moves it."""

    BLOCK = auto()
    CLOSE = auto()
    STAMP = auto()
    BREAK = auto()


TRANSFER: Table[TransferState, TransferEvent] = Table(
    name="transfer",
    start=TransferState.OPEN,
    moves={
        TransferState.OPEN: {
            TransferEvent.BLOCK: TransferState.OPEN,
            TransferEvent.CLOSE: TransferState.CLOSED,
            TransferEvent.BREAK: TransferState.BROKEN,
        },
        # The times come after the end.
        TransferState.CLOSED: {TransferEvent.STAMP: TransferState.CLOSED, TransferEvent.BREAK: TransferState.BROKEN},
        TransferState.BROKEN: {TransferEvent.BREAK: TransferState.BROKEN},
    },
    tolerated={
        # A slave with several calls under way learns late of a failure, and closes all the same.
        TransferState.BROKEN: {
            TransferEvent.BLOCK: TransferState.BROKEN,
            TransferEvent.CLOSE: TransferState.BROKEN,
            TransferEvent.STAMP: TransferState.BROKEN,
        },
        # And one that is interrupted may close twice.
        TransferState.CLOSED: {TransferEvent.CLOSE: TransferState.CLOSED},
    },
    theirs=frozenset({TransferEvent.BLOCK, TransferEvent.CLOSE, TransferEvent.STAMP}),
)
"""A file is put in its place only when it was closed, nothing broke, and its command was a success."""
