"""Happenings inside a master session: children put them into the queue of `MasterContext`, and the session drains it.

So no child knows its parent, nothing is re-entered, and what happens has one order: that of the queue.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from slaveproto.master.tasks import Answer, Ask, MasterTask
from slaveproto.wire.login import Credentials
from slaveproto.wire.values import Failure


@attrs.frozen
class LoginWanted:
    """A client of a connection responded to the challenge, or came without a name."""

    connection: int
    credentials: Credentials


@attrs.frozen
class Asked:
    """A script wants to call its peer."""

    task: MasterTask
    ask: Ask


@attrs.frozen
class AnswersCame:
    """The calls of an `Ask` are answered, or will do without; its task goes on."""

    task: MasterTask
    answers: tuple[Answer, ...]


@attrs.frozen
class PeerBroke:
    """A script read an answer that breaks the protocol."""

    connection: int
    why: str


@attrs.frozen
class PeerLeft:
    """A peer is over.

    Args:
        connection: the peer's.
        why: for people.
        last: words that it is still to be told; None if there is no connection any more.
    """

    connection: int
    why: str
    last: bytes | None


@attrs.frozen
class SlaveReady:
    """The slave of a connection is attached."""

    connection: int


@attrs.frozen
class HolderAlive:
    """The slave of a connection, which a newer one wants to replace, gave a sign of life."""

    connection: int


@attrs.frozen
class BuildOver:
    """A build has no builder any more: it ended, was refused, or its slave is gone (`lost` tells why)."""

    connection: int
    build: int
    lost: str | None = None


@attrs.frozen
class CommandOver:
    """A command of a step completed, or was refused, or could not even be sent (`problem` tells why)."""

    step: int
    rc: int | None
    failure: Failure | None
    problem: str = ""


@attrs.frozen
class TransferOver:
    """The file of a step is in its place, or removed.

    Args:
        step: its number.
        problem: what went wrong; empty if all went well.
        ours: whether that was on the master.
        left_out: lines about entries of a directory that are not in it.
    """

    step: int
    problem: str
    ours: bool = False
    left_out: tuple[str, ...] = ()


@attrs.frozen
class SourceFound:
    """A step that sends a file of the master knows the file's size, or why there is none."""

    step: int
    size: int | None
    problem: str


@attrs.frozen
class StepOver:
    """A step is over."""

    build: int
    step: int


Happening: TypeAlias = (
    LoginWanted
    | Asked
    | AnswersCame
    | PeerBroke
    | PeerLeft
    | SlaveReady
    | HolderAlive
    | BuildOver
    | CommandOver
    | TransferOver
    | SourceFound
    | StepOver
)
