"""Inputs of a slave's session, and its announcements."""

from __future__ import annotations

from typing import TypeAlias

from slaveproto.effects import ProcessEvent
from slaveproto.inputs import Completed, Disconnected, Received, Rejected, Stop, Wakeup
from slaveproto.records import record

# -- inputs


@record
class Start:
    """Begin to connect."""


@record
class AskShutdown:
    """Take no new build, and ask the master to let us go once it is done with us; without a master, stop at once.

    Args:
        why: for people.
        within: seconds after which the session ends as with `Stop`, and `LAST_MOMENTS` later waits for nothing any
            more; None for no limit.
    """

    why: str = "asked to leave"
    within: float | None = None


@record
class Connected:
    """The connection that request `connection`, an `OpenConnection`, asked for is there.

    Args:
        connection: the request.
        secure: whether it has TLS.
    """

    connection: int
    secure: bool = False


Input: TypeAlias = (
    Start | Stop | AskShutdown | Wakeup | Connected | Received | Disconnected | Completed | Rejected | ProcessEvent
)


# -- announcements


@record
class Connecting:
    """A connection is being opened."""

    host: str
    port: int


@record
class WaitingForMaster:
    """The connection is there; the master has the first word."""


@record
class Attached:
    """The master accepted the login, and its builders are known."""

    builders: tuple[str, ...]


@record
class AttachRefused:
    """The master refused the login. The next attempt is in `retry_in` seconds, None for never."""

    why: str
    retry_in: float | None


@record
class Detached:
    """The connection is over, or could not be made. The next attempt is in `retry_in` seconds, None for never."""

    why: str
    retry_in: float | None


@record
class LineLost:
    """The link is lost, and builds go on: both sides wait for another one. `waiting` bytes are still to be sent."""

    why: str
    waiting: int


@record
class LineBack:
    """The link is there again after so many seconds, and nothing is lost."""

    seconds: float


@record
class MasterSaid:
    """The master printed a message, to the whole slave or to one builder."""

    text: str
    builder: str | None


@record
class BuildersListed:
    """The master listed its builders. `leftover` are directories that belong to none of them."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    leftover: tuple[str, ...]


@record
class CommandStarted:
    """A command began."""

    builder: str
    command: str
    id: str


@record
class CommandFinished:
    """A command ended: with a return code, a failure, or without the master hearing of it (`dropped`)."""

    builder: str
    command: str
    id: str
    rc: int | None
    failure: str | None
    dropped: bool


@record
class Leaving:
    """The slave takes no new build and waits for the end of what runs, for at most `within` seconds if not None."""

    why: str
    within: float | None


@record
class SlaveNotice:
    """Another message for people."""

    text: str


@record
class Stopped:
    """The session is over. `gave_up` says that it was not asked to stop."""

    why: str
    gave_up: bool


SlaveEvent: TypeAlias = (
    Connecting
    | WaitingForMaster
    | Attached
    | AttachRefused
    | Detached
    | LineLost
    | LineBack
    | MasterSaid
    | BuildersListed
    | CommandStarted
    | CommandFinished
    | Leaving
    | SlaveNotice
    | Stopped
)
