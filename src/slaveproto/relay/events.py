"""Inputs, requests and announcements of a relay.

Connections that come in have positive numbers, which the runner gives; those that the session wants have negative ones.
"""

from __future__ import annotations

from typing import TypeAlias

from slaveproto.inputs import Disconnected, Received, Stop, Wakeup
from slaveproto.records import record

# -- inputs


@record
class CameIn:
    """A connection came in.

    Args:
        connection: its number.
        peer: its address in words.
        host: its address alone, by which strangers are counted.
        secure: whether it can be used; else `Agreed` follows when TLS is agreed on.
    """

    connection: int
    peer: str
    host: str
    secure: bool = True


@record
class Agreed:
    """A connection that came in has agreed on TLS.

    Args:
        connection: its number.
        names: of the certificate that it has shown.
    """

    connection: int
    names: tuple[str, ...] = ()


@record
class Reached:
    """A connection that was wanted is open, and TLS is agreed on where it is spoken."""

    connection: int


@record
class HalfClosed:
    """The other end of a connection says nothing more, and may still listen."""

    connection: int


@record
class Drain:
    """Let no more slaves in, and end with those that are there.

    Args:
        why: for people.
        within: seconds after which those that are left are ended.
    """

    why: str
    within: float


RelayInput: TypeAlias = (
    CameIn | Agreed | Reached | Received | HalfClosed | Disconnected | Drain | Stop | Wakeup
)  # fmt: skip

# -- requests


@record
class Dial:
    """Connect to where the relay leads; tell `Reached` or `Disconnected`."""

    connection: int


@record
class ShutWriting:
    """Say nothing more over a connection, once everything that was taken for it is out."""

    connection: int


@record
class HangUp:
    """Close a connection.

    Args:
        connection: its number; it is not heard of any more.
        last: goes out first, after everything that was taken for it.
    """

    connection: int
    last: bytes = b""


RelayRequest: TypeAlias = Dial | ShutWriting | HangUp

# -- announcements


@record
class PairOpened:
    """A slave and its master are joined.

    Args:
        pair: the number of the two.
        peer: the address that came in.
        resumable: whether the link between the relays may break in between.
    """

    pair: int
    peer: str
    resumable: bool


@record
class LinkLost:
    """The link of a pair is lost, and is waited for.

    Args:
        pair: the number of the two.
        peer: the address that came in.
        why: for people.
        waiting: bytes that wait on this side.
    """

    pair: int
    peer: str
    why: str
    waiting: int


@record
class LinkBack:
    """The link of a pair is back, and nothing is lost.

    Args:
        pair: the number of the two.
        peer: the address that came in.
        seconds: without a link.
    """

    pair: int
    peer: str
    seconds: float


@record
class PairOver:
    """A slave and its master are not joined any more, or could not be.

    Args:
        pair: the number of the two.
        peer: the address that came in.
        why: for people; empty if both ended it.
    """

    pair: int
    peer: str
    why: str


@record
class TurnedAway:
    """A connection that came in was closed, and belongs to no pair.

    Args:
        peer: its address.
        why: for people.
    """

    peer: str
    why: str


@record
class Draining:
    """No more slaves are let in.

    Args:
        why: for people.
        pairs: how many are left.
        within: seconds that they have.
    """

    why: str
    pairs: int
    within: float


@record
class PairMended:
    """Difference that one end of a pair would not have borne, put right. Told once for each row and pair.

    Args:
        pair: the number of the two.
        peer: the address that came in.
        row: name of the row of `slaveproto.mend.MENDS`.
        side: the end that would not have borne it, `master` or `slave`.
    """

    pair: int
    peer: str
    row: str
    side: str


@record
class PairPassedOn:
    """A message that is not understood was passed on as it came. Told once for each kind and pair.

    Args:
        pair: the number of the two.
        peer: the address that came in.
        what: its kind, in words.
        side: the end that sent it, `master` or `slave`.
    """

    pair: int
    peer: str
    what: str
    side: str


RelayEvent: TypeAlias = PairMended | PairPassedOn | PairOpened | LinkLost | LinkBack | PairOver | TurnedAway | Draining
