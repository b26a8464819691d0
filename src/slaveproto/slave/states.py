"""The tables of level two as the slave sees them: each is an agreement of slave and master.

Rules. A row says where an event leads, and an event without a row is illegal; its blame is in `theirs`. Real masters
need the rows under `tolerated`, although the protocol does not mean them.

Not in these tables, for there are no states to it: what the master asks of the bot (a registry of methods), which
builders are listed (a dictionary), `shutdown` of a builder, which ends the session from any state, and what a master
reads (`slave.dialect`).
"""

from __future__ import annotations

from enum import auto

from slaveproto.machine import Symbol, Table


class LinkState(Symbol):
    """The states of the slave's link to its master."""

    IDLE = auto()
    CONNECTING = auto()
    NEGOTIATING = auto()
    LOGGING_IN = auto()
    ATTACHED = auto()
    LEAVING_EARLY = auto()
    LEAVING = auto()
    LEAVING_ALONE = auto()
    WAITING = auto()
    STOPPED = auto()


class LinkEvent(Symbol):
    """The events of the link."""

    START = auto()
    RETRY = auto()
    CONNECTED = auto()
    OPENED = auto()
    ACCEPTED = auto()
    LOST = auto()
    ASK_SHUTDOWN = auto()
    REFUSED = auto()
    STOP = auto()


LINK: Table[LinkState, LinkEvent] = Table(
    name="link",
    start=LinkState.IDLE,
    moves={
        LinkState.IDLE: {
            LinkEvent.START: LinkState.CONNECTING,
            LinkEvent.ASK_SHUTDOWN: LinkState.STOPPED,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.CONNECTING: {
            LinkEvent.CONNECTED: LinkState.NEGOTIATING,
            LinkEvent.LOST: LinkState.WAITING,
            LinkEvent.ASK_SHUTDOWN: LinkState.STOPPED,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.NEGOTIATING: {
            LinkEvent.OPENED: LinkState.LOGGING_IN,
            LinkEvent.LOST: LinkState.WAITING,
            LinkEvent.ASK_SHUTDOWN: LinkState.STOPPED,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        # The master may have begun a build already; it is asked as soon as there is a perspective to ask.
        LinkState.LOGGING_IN: {
            LinkEvent.ACCEPTED: LinkState.ATTACHED,
            LinkEvent.LOST: LinkState.WAITING,
            LinkEvent.ASK_SHUTDOWN: LinkState.LEAVING_EARLY,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.ATTACHED: {
            LinkEvent.LOST: LinkState.WAITING,
            LinkEvent.ASK_SHUTDOWN: LinkState.LEAVING,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.LEAVING_EARLY: {
            LinkEvent.ACCEPTED: LinkState.LEAVING,
            LinkEvent.LOST: LinkState.STOPPED,
            LinkEvent.ASK_SHUTDOWN: LinkState.LEAVING_EARLY,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.LEAVING: {
            LinkEvent.LOST: LinkState.STOPPED,
            LinkEvent.ASK_SHUTDOWN: LinkState.LEAVING,
            LinkEvent.REFUSED: LinkState.LEAVING_ALONE,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.LEAVING_ALONE: {
            LinkEvent.LOST: LinkState.STOPPED,
            LinkEvent.ASK_SHUTDOWN: LinkState.LEAVING_ALONE,
            LinkEvent.REFUSED: LinkState.LEAVING_ALONE,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.WAITING: {
            LinkEvent.RETRY: LinkState.CONNECTING,
            LinkEvent.ASK_SHUTDOWN: LinkState.STOPPED,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.STOPPED: {LinkEvent.ASK_SHUTDOWN: LinkState.STOPPED, LinkEvent.STOP: LinkState.STOPPED},
    },
    theirs=frozenset({LinkEvent.OPENED, LinkEvent.ACCEPTED, LinkEvent.REFUSED}),
)
"""Connect, negotiate, log in, stay; whatever ends it, a refused login too, is LOST, and after a while we try again.

ASK_SHUTDOWN asks the master to let the slave go, and its `shutdown` stops the slave. Without a master to ask, and once
it is lost, the slave stops at once. LEAVING_ALONE: the master refused, so the slave decides by itself when it may go.
"""


class IntakeState(Symbol):
    """The states of a slave's intake of builds."""

    OPEN = auto()
    CLOSED = auto()


class IntakeEvent(Symbol):
    """The events of the intake."""

    START_BUILD = auto()
    CLOSE = auto()


INTAKE: Table[IntakeState, IntakeEvent] = Table(
    name="intake",
    start=IntakeState.OPEN,
    moves={
        IntakeState.OPEN: {IntakeEvent.START_BUILD: IntakeState.OPEN, IntakeEvent.CLOSE: IntakeState.CLOSED},
        # A master that is refused its startBuild puts the request back: 0.8.4 and 4.3.0 both do.
        IntakeState.CLOSED: {IntakeEvent.CLOSE: IntakeState.CLOSED},
    },
    theirs=frozenset({IntakeEvent.START_BUILD}),
)
"""A slave that leaves takes no new build. Commands of builds that it took before go on."""


class SlaveBuilderState(Symbol):
    """The states of a slave builder."""

    LISTED = auto()
    READY = auto()
    BUSY = auto()
    GONE = auto()


class SlaveBuilderEvent(Symbol):
    """The events of a slave builder."""

    SET_MASTER = auto()
    PRINT = auto()
    START_BUILD = auto()
    START_COMMAND = auto()
    INTERRUPT_COMMAND = auto()
    COMPLETE = auto()
    DETACH = auto()
    UNLIST = auto()


SLAVE_BUILDER: Table[SlaveBuilderState, SlaveBuilderEvent] = Table(
    name="slave builder",
    start=SlaveBuilderState.LISTED,
    moves={
        # A 4.x master calls neither setMaster nor print on a slave builder: its first call is startBuild.
        SlaveBuilderState.LISTED: {
            SlaveBuilderEvent.SET_MASTER: SlaveBuilderState.READY,
            SlaveBuilderEvent.START_BUILD: SlaveBuilderState.READY,
            SlaveBuilderEvent.DETACH: SlaveBuilderState.LISTED,
            SlaveBuilderEvent.UNLIST: SlaveBuilderState.GONE,
        },
        SlaveBuilderState.READY: {
            SlaveBuilderEvent.SET_MASTER: SlaveBuilderState.READY,
            SlaveBuilderEvent.PRINT: SlaveBuilderState.READY,
            SlaveBuilderEvent.START_BUILD: SlaveBuilderState.READY,
            SlaveBuilderEvent.START_COMMAND: SlaveBuilderState.BUSY,
            SlaveBuilderEvent.DETACH: SlaveBuilderState.LISTED,
            SlaveBuilderEvent.UNLIST: SlaveBuilderState.GONE,
        },
        SlaveBuilderState.BUSY: {
            SlaveBuilderEvent.SET_MASTER: SlaveBuilderState.BUSY,
            SlaveBuilderEvent.PRINT: SlaveBuilderState.BUSY,
            SlaveBuilderEvent.INTERRUPT_COMMAND: SlaveBuilderState.BUSY,
            SlaveBuilderEvent.COMPLETE: SlaveBuilderState.READY,
            SlaveBuilderEvent.DETACH: SlaveBuilderState.LISTED,
            SlaveBuilderEvent.UNLIST: SlaveBuilderState.GONE,
        },
        SlaveBuilderState.GONE: {},
    },
    tolerated={
        # A master may ping the builder before it says who it is, and may skip startBuild.
        SlaveBuilderState.LISTED: {
            SlaveBuilderEvent.PRINT: SlaveBuilderState.LISTED,
            SlaveBuilderEvent.START_COMMAND: SlaveBuilderState.BUSY,
            SlaveBuilderEvent.INTERRUPT_COMMAND: SlaveBuilderState.LISTED,
        },
        # The command may have completed while the interrupt was under way.
        SlaveBuilderState.READY: {SlaveBuilderEvent.INTERRUPT_COMMAND: SlaveBuilderState.READY},
        # A master that lost count of its commands: the one left over is dropped without a word.
        SlaveBuilderState.BUSY: {
            SlaveBuilderEvent.START_COMMAND: SlaveBuilderState.BUSY,
            SlaveBuilderEvent.START_BUILD: SlaveBuilderState.BUSY,
        },
    },
    theirs=frozenset(
        {
            SlaveBuilderEvent.SET_MASTER,
            SlaveBuilderEvent.PRINT,
            SlaveBuilderEvent.START_BUILD,
            SlaveBuilderEvent.START_COMMAND,
            SlaveBuilderEvent.INTERRUPT_COMMAND,
            SlaveBuilderEvent.UNLIST,
        }
    ),
)
"""A builder outlives connections: DETACH puts it back to LISTED, the next builder list finds it there."""


class CommandState(Symbol):
    """The states of one command."""

    RUNNING = auto()
    INTERRUPTED = auto()
    DONE = auto()
    DROPPED = auto()


class CommandEvent(Symbol):
    """The events of one command."""

    UPDATE = auto()
    INTERRUPT = auto()
    COMPLETE = auto()
    DROP = auto()


COMMAND: Table[CommandState, CommandEvent] = Table(
    name="command",
    start=CommandState.RUNNING,
    moves={
        CommandState.RUNNING: {
            CommandEvent.UPDATE: CommandState.RUNNING,
            CommandEvent.INTERRUPT: CommandState.INTERRUPTED,
            CommandEvent.COMPLETE: CommandState.DONE,
            CommandEvent.DROP: CommandState.DROPPED,
        },
        CommandState.INTERRUPTED: {
            CommandEvent.UPDATE: CommandState.INTERRUPTED,
            CommandEvent.INTERRUPT: CommandState.INTERRUPTED,
            CommandEvent.COMPLETE: CommandState.DONE,
            CommandEvent.DROP: CommandState.DROPPED,
        },
        CommandState.DONE: {},
        CommandState.DROPPED: {},
    },
    theirs=frozenset({CommandEvent.INTERRUPT}),
)
"""Exactly one end: DONE has sent `complete`, DROPPED never will (connection lost, builder removed, left over)."""
