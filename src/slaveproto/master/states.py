"""The tables of the master's side. Each is an agreement of master and slave, seen from the master."""

from __future__ import annotations

from enum import auto

from slaveproto.machine import Symbol, Table


class Visit(Symbol):
    """Where one connection is."""

    NEGOTIATING = auto()
    OPEN = auto()
    CHALLENGED = auto()
    CHECKING = auto()
    CONTENDING = auto()
    ATTACHING = auto()
    ADMITTED = auto()
    REFUSED = auto()
    GONE = auto()


class Visiting(Symbol):
    """What moves a connection."""

    OPENED = auto()
    LOGIN = auto()
    ANONYMOUS = auto()
    RESPOND = auto()
    CONTEND = auto()
    ATTACH = auto()
    ADMIT = auto()
    REFUSE = auto()
    END = auto()


VISIT: Table[Visit, Visiting] = Table(
    name="visit",
    start=Visit.NEGOTIATING,
    moves={
        Visit.NEGOTIATING: {Visiting.OPENED: Visit.OPEN, Visiting.END: Visit.GONE},
        Visit.OPEN: {Visiting.LOGIN: Visit.CHALLENGED, Visiting.ANONYMOUS: Visit.REFUSED, Visiting.END: Visit.GONE},
        Visit.CHALLENGED: {Visiting.RESPOND: Visit.CHECKING, Visiting.END: Visit.GONE},
        # CHECKING may take its time: the program may have to be asked who that is.
        Visit.CHECKING: {
            Visiting.REFUSE: Visit.REFUSED,
            Visiting.CONTEND: Visit.CONTENDING,
            Visiting.ATTACH: Visit.ATTACHING,
            Visiting.ADMIT: Visit.ADMITTED,
            Visiting.END: Visit.GONE,
        },
        Visit.CONTENDING: {
            Visiting.ATTACH: Visit.ATTACHING,
            Visiting.REFUSE: Visit.REFUSED,
            Visiting.END: Visit.GONE,
        },
        Visit.ATTACHING: {Visiting.ADMIT: Visit.ADMITTED, Visiting.END: Visit.GONE},
        Visit.ADMITTED: {Visiting.END: Visit.GONE},
        Visit.REFUSED: {Visiting.END: Visit.GONE},
        Visit.GONE: {},
    },
    tolerated={
        # A client of Twisted may ask twice before it responds, and try again after a refusal.
        Visit.CHALLENGED: {Visiting.LOGIN: Visit.CHALLENGED, Visiting.ANONYMOUS: Visit.REFUSED},
        Visit.REFUSED: {Visiting.LOGIN: Visit.CHALLENGED, Visiting.ANONYMOUS: Visit.REFUSED},
    },
    theirs=frozenset({Visiting.OPENED, Visiting.LOGIN, Visiting.ANONYMOUS, Visiting.RESPOND}),
)
"""Negotiate, log in, and be somebody. A slave is attached before its login is answered."""


class Seat(Symbol):
    """Whether somebody goes by the name of a slave."""

    EMPTY = auto()
    TAKEN = auto()
    CONTESTED = auto()


class Seating(Symbol):
    """What moves a seat."""

    CLAIM = auto()
    CONTEND = auto()
    ALIVE = auto()
    LEAVE = auto()
    WITHDRAW = auto()


SEAT: Table[Seat, Seating] = Table(
    name="seat",
    start=Seat.EMPTY,
    moves={
        Seat.EMPTY: {Seating.CLAIM: Seat.TAKEN},
        Seat.TAKEN: {Seating.CONTEND: Seat.CONTESTED, Seating.LEAVE: Seat.EMPTY},
        # ALIVE: the holder answered, the contender is refused. LEAVE: the holder is gone, or was closed because it did
        # not answer, and the seat is the contender's. CONTEND: a newer contender takes the older one's place.
        Seat.CONTESTED: {
            Seating.ALIVE: Seat.TAKEN,
            Seating.LEAVE: Seat.TAKEN,
            Seating.WITHDRAW: Seat.TAKEN,
            Seating.CONTEND: Seat.CONTESTED,
        },
    },
    theirs=frozenset({Seating.ALIVE}),
)
"""One name, one holder, at most one contender. The holder may be attached or on its way to that."""


class Attach(Symbol):
    """Where the attaching of one slave is."""

    ASKING = auto()
    ASKING_OLD = auto()
    LISTING = auto()
    INTRODUCING = auto()
    ATTACHED = auto()
    GONE = auto()


class Attaching(Symbol):
    """What moves it."""

    WORKER_INFO = auto()
    NO_WORKER_INFO = auto()
    SLAVE_INFO = auto()
    LISTED = auto()
    INTRODUCED = auto()
    END = auto()


ATTACH: Table[Attach, Attaching] = Table(
    name="attach",
    start=Attach.ASKING,
    moves={
        Attach.ASKING: {
            Attaching.WORKER_INFO: Attach.LISTING,
            Attaching.NO_WORKER_INFO: Attach.ASKING_OLD,
            Attaching.END: Attach.GONE,
        },
        Attach.ASKING_OLD: {Attaching.SLAVE_INFO: Attach.LISTING, Attaching.END: Attach.GONE},
        Attach.LISTING: {Attaching.LISTED: Attach.INTRODUCING, Attaching.END: Attach.GONE},
        Attach.INTRODUCING: {Attaching.INTRODUCED: Attach.ATTACHED, Attaching.END: Attach.GONE},
        Attach.ATTACHED: {Attaching.END: Attach.GONE},
        Attach.GONE: {},
    },
    theirs=frozenset(
        {
            Attaching.WORKER_INFO,
            Attaching.NO_WORKER_INFO,
            Attaching.SLAVE_INFO,
            Attaching.LISTED,
            Attaching.INTRODUCED,
        }
    ),
)
"""ASKING: `print` and `getWorkerInfo`; ASKING_OLD: `getSlaveInfo`, `getCommands` and `getVersion`; LISTING:
`setBuilderList`; INTRODUCING: `setMaster` and `print` on every builder of a slave before 0.9. The calls of one state
leave together. Any failure is END, and closes the connection."""


class Builder(Symbol):
    """Where a slave builder is, for the master."""

    LISTED = auto()
    INTRODUCED = auto()
    IDLE = auto()
    PINGING = auto()
    STARTING = auto()
    BUILDING = auto()
    COMMANDING = auto()
    GONE = auto()


class Building(Symbol):
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


BUILDER: Table[Builder, Building] = Table(
    name="slave builder (master)",
    start=Builder.LISTED,
    moves={
        Builder.LISTED: {
            Building.FOUND: Builder.INTRODUCED,
            Building.UNLIST: Builder.GONE,
            Building.LOSE: Builder.GONE,
        },
        Builder.INTRODUCED: {
            Building.READY: Builder.IDLE,
            Building.UNLIST: Builder.GONE,
            Building.LOSE: Builder.GONE,
        },
        Builder.IDLE: {Building.PING: Builder.PINGING, Building.UNLIST: Builder.GONE, Building.LOSE: Builder.GONE},
        Builder.PINGING: {
            Building.PONG: Builder.STARTING,
            Building.END_BUILD: Builder.IDLE,
            Building.LOSE: Builder.GONE,
        },
        Builder.STARTING: {
            Building.STARTED: Builder.BUILDING,
            Building.NOT_STARTED: Builder.IDLE,
            Building.END_BUILD: Builder.IDLE,
            Building.LOSE: Builder.GONE,
        },
        Builder.BUILDING: {
            Building.START_STEP: Builder.COMMANDING,
            Building.END_BUILD: Builder.IDLE,
            Building.LOSE: Builder.GONE,
        },
        # A build cannot end under a command: a slave runs one at a time, and would drop it for the next.
        Builder.COMMANDING: {Building.STEP_OVER: Builder.BUILDING, Building.LOSE: Builder.GONE},
        Builder.GONE: {},
    },
    theirs=frozenset({Building.FOUND, Building.READY, Building.PONG, Building.STARTED, Building.NOT_STARTED}),
)
"""A builder that is busy is never unlisted: a slave sends no `complete` for a builder that is gone."""


class Command(Symbol):
    """Where one command is, for the master."""

    SENT = auto()
    RUNNING = auto()
    INTERRUPTING = auto()
    DONE = auto()
    LOST = auto()


class Commanding(Symbol):
    """What moves it."""

    STARTED = auto()
    REFUSED = auto()
    UPDATE = auto()
    COMPLETE = auto()
    INTERRUPT = auto()
    LOSE = auto()


COMMAND: Table[Command, Commanding] = Table(
    name="remote command",
    start=Command.SENT,
    moves={
        # A slave may say all it has to say before it answers `startCommand`.
        Command.SENT: {
            Commanding.STARTED: Command.RUNNING,
            Commanding.REFUSED: Command.DONE,
            Commanding.UPDATE: Command.SENT,
            Commanding.COMPLETE: Command.DONE,
            Commanding.INTERRUPT: Command.INTERRUPTING,
            Commanding.LOSE: Command.LOST,
        },
        Command.RUNNING: {
            Commanding.UPDATE: Command.RUNNING,
            Commanding.COMPLETE: Command.DONE,
            Commanding.INTERRUPT: Command.INTERRUPTING,
            Commanding.LOSE: Command.LOST,
        },
        Command.INTERRUPTING: {
            Commanding.STARTED: Command.INTERRUPTING,
            Commanding.REFUSED: Command.DONE,
            Commanding.UPDATE: Command.INTERRUPTING,
            Commanding.COMPLETE: Command.DONE,
            Commanding.INTERRUPT: Command.INTERRUPTING,
            Commanding.LOSE: Command.LOST,
        },
        Command.DONE: {},
        Command.LOST: {},
    },
    tolerated={
        # The answer to `startCommand` may come after `complete`. Slaves of 0.8 send what is left of a dropped command
        # to whoever listens then, so that there may be more after the end, and a second end.
        Command.DONE: {
            Commanding.STARTED: Command.DONE,
            Commanding.REFUSED: Command.DONE,
            Commanding.UPDATE: Command.DONE,
            Commanding.COMPLETE: Command.DONE,
        },
    },
    theirs=frozenset({Commanding.STARTED, Commanding.REFUSED, Commanding.UPDATE, Commanding.COMPLETE}),
)
"""Only `complete` ends a command: updates follow after `rc`, too."""


class Departure(Symbol):
    """Whether a slave is on its way out."""

    STAYING = auto()
    LEAVING = auto()
    ASKED = auto()
    ASKED_BUILDER = auto()


class Departing(Symbol):
    """What moves it."""

    WANT = auto()
    ASK = auto()
    NO_METHOD = auto()


DEPARTURE: Table[Departure, Departing] = Table(
    name="departure",
    start=Departure.STAYING,
    moves={
        Departure.STAYING: {Departing.WANT: Departure.LEAVING},
        Departure.LEAVING: {Departing.WANT: Departure.LEAVING, Departing.ASK: Departure.ASKED},
        Departure.ASKED: {Departing.WANT: Departure.ASKED, Departing.NO_METHOD: Departure.ASKED_BUILDER},
        Departure.ASKED_BUILDER: {Departing.WANT: Departure.ASKED_BUILDER},
    },
    theirs=frozenset({Departing.NO_METHOD}),
)
"""LEAVING: no new builds; ASKED: `shutdown` was called on the bot, as soon as no builder was busy; ASKED_BUILDER: on a
builder, for slaves before 0.8.3. It ends with the connection."""


class Transfer(Symbol):
    """Where a file on its way is."""

    OPEN = auto()
    CLOSED = auto()
    BROKEN = auto()


class Transferring(Symbol):
    """What moves it."""

    BLOCK = auto()
    CLOSE = auto()
    STAMP = auto()
    BREAK = auto()


TRANSFER: Table[Transfer, Transferring] = Table(
    name="transfer",
    start=Transfer.OPEN,
    moves={
        Transfer.OPEN: {
            Transferring.BLOCK: Transfer.OPEN,
            Transferring.CLOSE: Transfer.CLOSED,
            Transferring.BREAK: Transfer.BROKEN,
        },
        # The times come after the end.
        Transfer.CLOSED: {Transferring.STAMP: Transfer.CLOSED, Transferring.BREAK: Transfer.BROKEN},
        Transfer.BROKEN: {Transferring.BREAK: Transfer.BROKEN},
    },
    tolerated={
        # A slave with several calls under way learns late of a failure, and closes all the same.
        Transfer.BROKEN: {
            Transferring.BLOCK: Transfer.BROKEN,
            Transferring.CLOSE: Transfer.BROKEN,
            Transferring.STAMP: Transfer.BROKEN,
        },
        # And one that is interrupted may close twice.
        Transfer.CLOSED: {Transferring.CLOSE: Transfer.CLOSED},
    },
    theirs=frozenset({Transferring.BLOCK, Transferring.CLOSE, Transferring.STAMP}),
)
"""A file is put in its place only when it was closed, nothing broke, and its command was a success."""
