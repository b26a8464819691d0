"""The tables of a master. Each is an agreement of master and slave, seen from the master.

Rules. A row under `tolerated` is what real peers need although the protocol does not mean it, with its reason beside
it. An event that changes nothing is a row to the same state, never a question before it is fired.

Not in the tables: who may log in, and the one place that a name has for a holder and a contender at a time
(`MasterSession`); how a kind of slave is spoken to (`dialect`); the results of steps (`results`).
"""

from __future__ import annotations

from enum import auto

from slaveproto.machine import Symbol, Table


class PeerState(Symbol):
    """States of one connection."""

    SECURING = auto()
    NEGOTIATING = auto()
    OPEN = auto()
    CHECKING = auto()
    CONTENDING = auto()
    ATTACHING = auto()
    ADMITTED = auto()
    REFUSED = auto()
    GONE = auto()


class PeerEvent(Symbol):
    """Events of one connection."""

    SECURED = auto()
    OPENED = auto()
    TRY = auto()
    CHECK = auto()
    CONTEND = auto()
    ATTACH = auto()
    ADMIT = auto()
    REFUSE = auto()
    JOIN = auto()
    END = auto()


PEER: Table[PeerState, PeerEvent] = Table(
    name="peer",
    start=PeerState.SECURING,
    moves={
        # Without TLS a connection is secured when it is accepted.
        PeerState.SECURING: {PeerEvent.SECURED: PeerState.NEGOTIATING, PeerEvent.END: PeerState.GONE},
        # JOIN: the connection goes on with the line of another peer.
        PeerState.NEGOTIATING: {
            PeerEvent.OPENED: PeerState.OPEN,
            PeerEvent.JOIN: PeerState.GONE,
            PeerEvent.END: PeerState.GONE,
        },
        PeerState.OPEN: {
            PeerEvent.TRY: PeerState.OPEN,
            PeerEvent.CHECK: PeerState.CHECKING,
            PeerEvent.END: PeerState.GONE,
        },
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
        # A client of Twisted may try again after a refusal.
        PeerState.REFUSED: {PeerEvent.TRY: PeerState.OPEN},
    },
    theirs=frozenset({PeerEvent.OPENED, PeerEvent.TRY, PeerEvent.CHECK, PeerEvent.JOIN}),
)
"""Agree on TLS, negotiate, log in. TRY begins an attempt, CHECK ends the client's part of it; between them and after
them the table "login (server)" holds. A slave is attached before its login is answered."""


class LineState(Symbol):
    """States of what carries the bytes of one peer."""

    OFFERED = auto()
    PLAIN = auto()
    CARRIED = auto()
    CUT = auto()


class LineEvent(Symbol):
    """Events of what carries the bytes of one peer."""

    CHOOSE_PLAIN = auto()
    CHOOSE_STREAM = auto()
    LOSE = auto()
    RESUME = auto()


LINE: Table[LineState, LineEvent] = Table(
    name="line",
    start=LineState.OFFERED,
    moves={
        # A master that offers no streams chooses itself.
        LineState.OFFERED: {
            LineEvent.CHOOSE_PLAIN: LineState.PLAIN,
            LineEvent.CHOOSE_STREAM: LineState.CARRIED,
        },
        LineState.PLAIN: {},
        LineState.CARRIED: {LineEvent.LOSE: LineState.CUT},
        LineState.CUT: {LineEvent.RESUME: LineState.CARRIED},
    },
    theirs=frozenset({LineEvent.CHOOSE_PLAIN, LineEvent.CHOOSE_STREAM, LineEvent.RESUME}),
)
"""PLAIN is one connection, and ends with it. CARRIED and CUT are a stream, with a connection and without. It ends with
the stream (see the table "stream"), or with its peer."""


class SeatState(Symbol):
    """States of the name of a slave. (Buildbot calls this the arbitration of duplicate slaves.)"""

    EMPTY = auto()
    TAKEN = auto()
    CONTESTED = auto()


class SeatEvent(Symbol):
    """Events of the name of a slave."""

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
    """States of the attaching of one slave."""

    ASKING = auto()
    ASKING_OLD = auto()
    LISTING = auto()
    ATTACHED = auto()
    GONE = auto()


class AttachEvent(Symbol):
    """Events of the attaching of one slave."""

    WORKER_INFO = auto()
    NO_WORKER_INFO = auto()
    SLAVE_INFO = auto()
    LISTED = auto()
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
        # The first list of builders: see the table "list of builders".
        AttachState.LISTING: {AttachEvent.LISTED: AttachState.ATTACHED, AttachEvent.END: AttachState.GONE},
        AttachState.ATTACHED: {AttachEvent.END: AttachState.GONE},
        AttachState.GONE: {},
    },
    theirs=frozenset({AttachEvent.WORKER_INFO, AttachEvent.NO_WORKER_INFO, AttachEvent.SLAVE_INFO, AttachEvent.LISTED}),
)
"""ASKING: `print` and `getWorkerInfo`; ASKING_OLD: `getSlaveInfo`, `getCommands` and `getVersion`. The calls of one
state
leave together. Any failure is END, and closes the connection."""


class ListingState(Symbol):
    """States of the list of builders that a slave knows."""

    NONE = auto()
    SENT = auto()
    INTRODUCING = auto()
    LISTED = auto()


class ListingEvent(Symbol):
    """Events of the list of builders."""

    SEND = auto()
    ANSWER = auto()
    INTRODUCED = auto()


LISTING: Table[ListingState, ListingEvent] = Table(
    name="list of builders",
    start=ListingState.NONE,
    moves={
        ListingState.NONE: {ListingEvent.SEND: ListingState.SENT},
        ListingState.SENT: {ListingEvent.ANSWER: ListingState.INTRODUCING},
        ListingState.INTRODUCING: {ListingEvent.INTRODUCED: ListingState.LISTED},
        ListingState.LISTED: {ListingEvent.SEND: ListingState.SENT},
    },
    theirs=frozenset({ListingEvent.ANSWER, ListingEvent.INTRODUCED}),
)
"""The first list and every later one. SENT: `setBuilderList`; INTRODUCING: `setMaster` and `print` on every new builder
of
a slave before 0.9, and nothing for a worker. One list at a time: a change meanwhile is sent when this one is done."""


class RemoteBuilderState(Symbol):
    """States of a slave builder, for the master."""

    LISTED = auto()
    INTRODUCED = auto()
    IDLE = auto()
    PINGING = auto()
    STARTING = auto()
    BUILDING = auto()
    COMMANDING = auto()
    GONE = auto()


class RemoteBuilderEvent(Symbol):
    """Events of it."""

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
    CUT = auto()
    LOSE = auto()


REMOTE_BUILDER: Table[RemoteBuilderState, RemoteBuilderEvent] = Table(
    name="slave builder (master)",
    start=RemoteBuilderState.LISTED,
    moves={
        # CUT: the slave's line is cut. What has begun goes on, what has not begins elsewhere.
        RemoteBuilderState.LISTED: {
            RemoteBuilderEvent.FOUND: RemoteBuilderState.INTRODUCED,
            RemoteBuilderEvent.CUT: RemoteBuilderState.LISTED,
            RemoteBuilderEvent.UNLIST: RemoteBuilderState.GONE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        # FOUND again: a later list names it, too, and hands out its object once more.
        RemoteBuilderState.INTRODUCED: {
            RemoteBuilderEvent.FOUND: RemoteBuilderState.INTRODUCED,
            RemoteBuilderEvent.CUT: RemoteBuilderState.INTRODUCED,
            RemoteBuilderEvent.READY: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.UNLIST: RemoteBuilderState.GONE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        RemoteBuilderState.IDLE: {
            RemoteBuilderEvent.FOUND: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.CUT: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.PING: RemoteBuilderState.PINGING,
            RemoteBuilderEvent.UNLIST: RemoteBuilderState.GONE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        RemoteBuilderState.PINGING: {
            RemoteBuilderEvent.FOUND: RemoteBuilderState.PINGING,
            RemoteBuilderEvent.PONG: RemoteBuilderState.STARTING,
            RemoteBuilderEvent.END_BUILD: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.CUT: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        RemoteBuilderState.STARTING: {
            RemoteBuilderEvent.FOUND: RemoteBuilderState.STARTING,
            RemoteBuilderEvent.STARTED: RemoteBuilderState.BUILDING,
            RemoteBuilderEvent.NOT_STARTED: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.END_BUILD: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.CUT: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        RemoteBuilderState.BUILDING: {
            RemoteBuilderEvent.FOUND: RemoteBuilderState.BUILDING,
            RemoteBuilderEvent.CUT: RemoteBuilderState.BUILDING,
            RemoteBuilderEvent.START_STEP: RemoteBuilderState.COMMANDING,
            RemoteBuilderEvent.END_BUILD: RemoteBuilderState.IDLE,
            RemoteBuilderEvent.LOSE: RemoteBuilderState.GONE,
        },
        # A build cannot end under a command: a slave runs one at a time, and would drop it for the next.
        RemoteBuilderState.COMMANDING: {
            RemoteBuilderEvent.FOUND: RemoteBuilderState.COMMANDING,
            RemoteBuilderEvent.CUT: RemoteBuilderState.COMMANDING,
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
    """States of one command, for the master."""

    SENT = auto()
    RUNNING = auto()
    INTERRUPTING = auto()
    DONE = auto()
    LOST = auto()


class RemoteCommandEvent(Symbol):
    """Events of it."""

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
        # Its step may outlive it: a file is still to be put in its place.
        RemoteCommandState.DONE: {RemoteCommandEvent.LOSE: RemoteCommandState.DONE},
        RemoteCommandState.LOST: {},
    },
    tolerated={
        # The answer to `startCommand` may come after `complete`. Slaves of 0.8 send what is left of a dropped command
        # to the next one, so that there may be more after the end, and a second end.
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


class StepState(Symbol):
    """States of one step of a build."""

    PREPARING = auto()
    UNWANTED = auto()
    RUNNING = auto()
    INTERRUPTED = auto()
    SETTLING = auto()
    OVER = auto()


class StepEvent(Symbol):
    """Events of one step."""

    COMMAND = auto()
    INTERRUPT = auto()
    SETTLE = auto()
    END = auto()


STEP: Table[StepState, StepEvent] = Table(
    name="step",
    start=StepState.PREPARING,
    moves={
        # The master looks at the file that it is to send, or the step needs no command at all.
        StepState.PREPARING: {
            StepEvent.COMMAND: StepState.RUNNING,
            StepEvent.INTERRUPT: StepState.UNWANTED,
            StepEvent.END: StepState.OVER,
        },
        StepState.UNWANTED: {StepEvent.INTERRUPT: StepState.UNWANTED, StepEvent.END: StepState.OVER},
        # A step may take several commands, one after the other.
        StepState.RUNNING: {
            StepEvent.COMMAND: StepState.RUNNING,
            StepEvent.INTERRUPT: StepState.INTERRUPTED,
            StepEvent.SETTLE: StepState.SETTLING,
            StepEvent.END: StepState.OVER,
        },
        StepState.INTERRUPTED: {
            StepEvent.INTERRUPT: StepState.INTERRUPTED,
            StepEvent.SETTLE: StepState.SETTLING,
            StepEvent.END: StepState.OVER,
        },
        # The commands are over, and a file is put in its place, or removed.
        StepState.SETTLING: {StepEvent.INTERRUPT: StepState.SETTLING, StepEvent.END: StepState.OVER},
        # The wish to interrupt it may come late.
        StepState.OVER: {StepEvent.INTERRUPT: StepState.OVER},
    },
)
"""Commands of a step are sent while it is RUNNING only. The first INTERRUPT counts: it sends `interruptCommand`."""


class DepartureState(Symbol):
    """States of a slave's departure."""

    STAYING = auto()
    DISMISSED = auto()
    LEAVING = auto()
    LEAVING_DISMISSED = auto()
    ASKED = auto()
    ASKED_BUILDER = auto()


class DepartureEvent(Symbol):
    """Events of a slave's departure."""

    DISMISS = auto()
    RECALL = auto()
    WANT = auto()
    ASK = auto()
    NO_METHOD = auto()


DEPARTURE: Table[DepartureState, DepartureEvent] = Table(
    name="departure",
    start=DepartureState.STAYING,
    moves={
        DepartureState.STAYING: {
            DepartureEvent.DISMISS: DepartureState.DISMISSED,
            DepartureEvent.RECALL: DepartureState.STAYING,
            DepartureEvent.WANT: DepartureState.LEAVING,
        },
        DepartureState.DISMISSED: {
            DepartureEvent.DISMISS: DepartureState.DISMISSED,
            DepartureEvent.RECALL: DepartureState.STAYING,
            DepartureEvent.WANT: DepartureState.LEAVING_DISMISSED,
        },
        DepartureState.LEAVING: {
            DepartureEvent.DISMISS: DepartureState.LEAVING_DISMISSED,
            DepartureEvent.RECALL: DepartureState.LEAVING,
            DepartureEvent.WANT: DepartureState.LEAVING,
            DepartureEvent.ASK: DepartureState.ASKED,
        },
        DepartureState.LEAVING_DISMISSED: {
            DepartureEvent.DISMISS: DepartureState.LEAVING_DISMISSED,
            DepartureEvent.RECALL: DepartureState.LEAVING,
            DepartureEvent.WANT: DepartureState.LEAVING_DISMISSED,
            DepartureEvent.ASK: DepartureState.ASKED,
        },
        # It goes in any case: what the configuration says of it does not matter any more.
        DepartureState.ASKED: {
            DepartureEvent.DISMISS: DepartureState.ASKED,
            DepartureEvent.RECALL: DepartureState.ASKED,
            DepartureEvent.WANT: DepartureState.ASKED,
            DepartureEvent.NO_METHOD: DepartureState.ASKED_BUILDER,
        },
        DepartureState.ASKED_BUILDER: {
            DepartureEvent.DISMISS: DepartureState.ASKED_BUILDER,
            DepartureEvent.RECALL: DepartureState.ASKED_BUILDER,
            DepartureEvent.WANT: DepartureState.ASKED_BUILDER,
        },
    },
    theirs=frozenset({DepartureEvent.NO_METHOD}),
)
"""DISMISSED: it is not configured any more, and its connection is closed as soon as no builder is busy. LEAVING: it
gets no new build, and `shutdown` is called as soon as no builder is busy. ASKED: that was called on the bot;
ASKED_BUILDER: on a
builder, for slaves before 0.8.3. It ends with the connection."""


class TransferState(Symbol):
    """States of a file on its way."""

    OPEN = auto()
    CLOSED = auto()
    BROKEN = auto()


class TransferEvent(Symbol):
    """Events of it."""

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
