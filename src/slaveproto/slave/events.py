"""What a slave session takes in, and what it announces."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from slaveproto.effects import ProcessEvent
from slaveproto.inputs import Completed, Disconnected, Received, Rejected, Wakeup

# -- inputs


@attrs.frozen
class Start:
    """Begin to connect."""


@attrs.frozen
class Stop:
    """End: drop the connection, kill what runs, then be finished. `why` is for people."""

    why: str


@attrs.frozen
class AskShutdown:
    """Ask the master to let us go once it is done with us; without a master, stop at once."""


@attrs.frozen
class Connected:
    """The connection of that `OpenConnection` request is there."""

    connection: int


Input: TypeAlias = (
    Start | Stop | AskShutdown | Wakeup | Connected | Received | Disconnected | Completed | Rejected | ProcessEvent
)


# -- announcements


@attrs.frozen
class Connecting:
    """A connection is being opened."""

    host: str
    port: int


@attrs.frozen
class WaitingForMaster:
    """The connection is there; the master has the first word."""


@attrs.frozen
class Attached:
    """The master accepted the login, and its builders are known."""

    builders: tuple[str, ...]


@attrs.frozen
class LoginRefused:
    """The master refused the login. The next attempt is in `retry_in` seconds, None for never."""

    why: str
    retry_in: float | None


@attrs.frozen
class Detached:
    """The connection is over, or could not be made. The next attempt is in `retry_in` seconds, None for never."""

    why: str
    retry_in: float | None


@attrs.frozen
class MasterSaid:
    """The master printed a message, to the whole slave or to one builder."""

    text: str
    builder: str | None


@attrs.frozen
class BuildersChanged:
    """The master named its builders. `leftover` are directories that belong to none of them."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    leftover: tuple[str, ...]


@attrs.frozen
class StepStarted:
    """A command began."""

    builder: str
    command: str
    id: str


@attrs.frozen
class StepFinished:
    """A command ended: with a return code, a failure, or without the master hearing of it (`dropped`)."""

    builder: str
    command: str
    id: str
    rc: int | None
    failure: str | None
    dropped: bool


@attrs.frozen
class Notice:
    """Something else that people may want to know."""

    text: str


@attrs.frozen
class Stopped:
    """The session is over. `gave_up` tells that it was not asked to."""

    why: str
    gave_up: bool


SlaveEvent: TypeAlias = (
    Connecting
    | WaitingForMaster
    | Attached
    | LoginRefused
    | Detached
    | MasterSaid
    | BuildersChanged
    | StepStarted
    | StepFinished
    | Notice
    | Stopped
)
