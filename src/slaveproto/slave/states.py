"""The tables of level two. Each is an agreement of slave and master, seen from the slave."""

from __future__ import annotations

from enum import auto

from slaveproto.machine import Symbol, Table


class Link(Symbol):
    """Where the slave's link to its master is."""

    IDLE = auto()
    CONNECTING = auto()
    NEGOTIATING = auto()
    LOGGING_IN = auto()
    ATTACHED = auto()
    WAITING = auto()
    STOPPED = auto()


class Linking(Symbol):
    """What moves the link."""

    START = auto()
    RETRY = auto()
    CONNECTED = auto()
    OPENED = auto()
    ACCEPTED = auto()
    LOST = auto()
    STOP = auto()


LINK: Table[Link, Linking] = Table(
    name="link",
    start=Link.IDLE,
    moves={
        Link.IDLE: {Linking.START: Link.CONNECTING, Linking.STOP: Link.STOPPED},
        Link.CONNECTING: {
            Linking.CONNECTED: Link.NEGOTIATING,
            Linking.LOST: Link.WAITING,
            Linking.STOP: Link.STOPPED,
        },
        Link.NEGOTIATING: {
            Linking.OPENED: Link.LOGGING_IN,
            Linking.LOST: Link.WAITING,
            Linking.STOP: Link.STOPPED,
        },
        Link.LOGGING_IN: {
            Linking.ACCEPTED: Link.ATTACHED,
            Linking.LOST: Link.WAITING,
            Linking.STOP: Link.STOPPED,
        },
        Link.ATTACHED: {Linking.LOST: Link.WAITING, Linking.STOP: Link.STOPPED},
        Link.WAITING: {Linking.RETRY: Link.CONNECTING, Linking.STOP: Link.STOPPED},
        Link.STOPPED: {},
    },
    theirs=frozenset({Linking.OPENED, Linking.ACCEPTED}),
)
"""Connect, negotiate, log in, stay; whatever ends it, a refused login too, is LOST, and after a while we try again."""


class Builder(Symbol):
    """Where a slave builder is."""

    LISTED = auto()
    READY = auto()
    BUSY = auto()
    GONE = auto()


class Building(Symbol):
    """What moves a slave builder."""

    SET_MASTER = auto()
    PRINT = auto()
    START_BUILD = auto()
    START_COMMAND = auto()
    INTERRUPT_COMMAND = auto()
    COMPLETE = auto()
    DETACH = auto()
    UNLIST = auto()


BUILDER: Table[Builder, Building] = Table(
    name="slave builder",
    start=Builder.LISTED,
    moves={
        # A 4.x master calls neither setMaster nor print on a slave builder: its first call is startBuild.
        Builder.LISTED: {
            Building.SET_MASTER: Builder.READY,
            Building.START_BUILD: Builder.READY,
            Building.DETACH: Builder.LISTED,
            Building.UNLIST: Builder.GONE,
        },
        Builder.READY: {
            Building.SET_MASTER: Builder.READY,
            Building.PRINT: Builder.READY,
            Building.START_BUILD: Builder.READY,
            Building.START_COMMAND: Builder.BUSY,
            Building.DETACH: Builder.LISTED,
            Building.UNLIST: Builder.GONE,
        },
        Builder.BUSY: {
            Building.SET_MASTER: Builder.BUSY,
            Building.PRINT: Builder.BUSY,
            Building.INTERRUPT_COMMAND: Builder.BUSY,
            Building.COMPLETE: Builder.READY,
            Building.DETACH: Builder.LISTED,
            Building.UNLIST: Builder.GONE,
        },
        Builder.GONE: {},
    },
    tolerated={
        # A master may ask whether anybody is there before it says who it is, and may skip startBuild.
        Builder.LISTED: {
            Building.PRINT: Builder.LISTED,
            Building.START_COMMAND: Builder.BUSY,
            Building.INTERRUPT_COMMAND: Builder.LISTED,
        },
        # The command may have completed while the interrupt was under way.
        Builder.READY: {Building.INTERRUPT_COMMAND: Builder.READY},
        # A master that lost count of its commands: the one left over is dropped without a word.
        Builder.BUSY: {Building.START_COMMAND: Builder.BUSY, Building.START_BUILD: Builder.BUSY},
    },
    theirs=frozenset(
        {
            Building.SET_MASTER,
            Building.PRINT,
            Building.START_BUILD,
            Building.START_COMMAND,
            Building.INTERRUPT_COMMAND,
            Building.UNLIST,
        }
    ),
)
"""A builder outlives connections: DETACH puts it back to LISTED, the next builder list finds it there."""


class Step(Symbol):
    """Where one command is."""

    RUNNING = auto()
    INTERRUPTED = auto()
    DONE = auto()
    DROPPED = auto()


class Stepping(Symbol):
    """What moves one command."""

    UPDATE = auto()
    INTERRUPT = auto()
    COMPLETE = auto()
    DROP = auto()


STEP: Table[Step, Stepping] = Table(
    name="step",
    start=Step.RUNNING,
    moves={
        Step.RUNNING: {
            Stepping.UPDATE: Step.RUNNING,
            Stepping.INTERRUPT: Step.INTERRUPTED,
            Stepping.COMPLETE: Step.DONE,
            Stepping.DROP: Step.DROPPED,
        },
        Step.INTERRUPTED: {
            Stepping.UPDATE: Step.INTERRUPTED,
            Stepping.INTERRUPT: Step.INTERRUPTED,
            Stepping.COMPLETE: Step.DONE,
            Stepping.DROP: Step.DROPPED,
        },
        Step.DONE: {},
        Step.DROPPED: {},
    },
    theirs=frozenset({Stepping.INTERRUPT}),
)
"""Exactly one end: DONE has sent `complete`, DROPPED never will (connection lost, builder removed, left over)."""
