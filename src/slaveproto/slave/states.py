"""The tables of level two. Each is an agreement of slave and master, seen from the slave."""

from __future__ import annotations

from enum import auto

from slaveproto.machine import Symbol, Table


class LinkState(Symbol):
    """Where the slave's link to its master is."""

    IDLE = auto()
    CONNECTING = auto()
    NEGOTIATING = auto()
    LOGGING_IN = auto()
    ATTACHED = auto()
    WAITING = auto()
    STOPPED = auto()


class LinkEvent(Symbol):
    """What moves the link."""

    START = auto()
    RETRY = auto()
    CONNECTED = auto()
    OPENED = auto()
    ACCEPTED = auto()
    LOST = auto()
    STOP = auto()


LINK: Table[LinkState, LinkEvent] = Table(
    name="link",
    start=LinkState.IDLE,
    moves={
        LinkState.IDLE: {LinkEvent.START: LinkState.CONNECTING, LinkEvent.STOP: LinkState.STOPPED},
        LinkState.CONNECTING: {
            LinkEvent.CONNECTED: LinkState.NEGOTIATING,
            LinkEvent.LOST: LinkState.WAITING,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.NEGOTIATING: {
            LinkEvent.OPENED: LinkState.LOGGING_IN,
            LinkEvent.LOST: LinkState.WAITING,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.LOGGING_IN: {
            LinkEvent.ACCEPTED: LinkState.ATTACHED,
            LinkEvent.LOST: LinkState.WAITING,
            LinkEvent.STOP: LinkState.STOPPED,
        },
        LinkState.ATTACHED: {LinkEvent.LOST: LinkState.WAITING, LinkEvent.STOP: LinkState.STOPPED},
        LinkState.WAITING: {LinkEvent.RETRY: LinkState.CONNECTING, LinkEvent.STOP: LinkState.STOPPED},
        LinkState.STOPPED: {},
    },
    theirs=frozenset({LinkEvent.OPENED, LinkEvent.ACCEPTED}),
)
"""Connect, negotiate, log in, stay; whatever ends it, a refused login too, is LOST, and after a while we try again."""


class SlaveBuilderState(Symbol):
    """Where a slave builder is."""

    LISTED = auto()
    READY = auto()
    BUSY = auto()
    GONE = auto()


class SlaveBuilderEvent(Symbol):
    """What moves a slave builder."""

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
        # A master may ask whether anybody is there before it says who it is, and may skip startBuild.
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
    """Where one command is."""

    RUNNING = auto()
    INTERRUPTED = auto()
    DONE = auto()
    DROPPED = auto()


class CommandEvent(Symbol):
    """What moves one command."""

    UPDATE = auto()
    INTERRUPT = auto()
    COMPLETE = auto()
    DROP = auto()


COMMAND: Table[CommandState, CommandEvent] = Table(
    name="step",
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
