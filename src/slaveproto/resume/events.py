"""Announcements of the two ends of streams that outlive their carriers."""

from __future__ import annotations

from typing import TypeAlias

from slaveproto.records import record

# -- of a client


@record
class DialWanted:
    """A connection to the server is wanted: open one, and tell `connected` or `disconnected`."""


@record
class StreamOpened:
    """The stream is open."""


@record
class PlainPeer:
    """The server speaks Perspective Broker and nothing else. The connection is yours from now on.

    Args:
        data: what it said so far. Nothing was sent to it.
    """

    data: bytes


@record
class HangUpWanted:
    """The present connection is to be closed, once `data_to_send` is sent. It is not heard of any more.

    Args:
        why: for people.
    """

    why: str


@record
class CarrierLost:
    """The carrier is lost, the stream lives on. Another connection is tried.

    Args:
        stream: which one; 0 for a client's only one.
        why: for people.
        unacknowledged: bytes that wait.
    """

    stream: int
    why: str
    unacknowledged: int


@record
class CarrierBack:
    """The stream has a carrier again.

    Args:
        stream: which one; 0 for a client's only one.
        carrier: of a server: the connection. Of a client: how many there were.
        seconds: without one.
    """

    stream: int
    carrier: int
    seconds: float


@record
class Arrived:
    """Bytes can be taken, or the other end has ended its direction.

    Args:
        stream: which one; 0 for a client's only one.
    """

    stream: int


@record
class StreamOver:
    """The stream is over, or was never opened.

    Args:
        stream: which one; 0 for a client's only one.
        why: for people; empty if both ends ended it.
    """

    stream: int
    why: str


ClientEvent: TypeAlias = (
    DialWanted | StreamOpened | PlainPeer | HangUpWanted | CarrierLost | CarrierBack | Arrived | StreamOver
)

# -- of a server


@record
class PlainCame:
    """A client speaks Perspective Broker. The connection is yours from now on.

    Args:
        carrier: the connection.
        data: what the client said, its choice of the dialect first.
        unsent: what it is still to be sent of the offer of dialects.
    """

    carrier: int
    data: bytes
    unsent: bytes


@record
class StreamCame:
    """A client opened a stream. It has the number of the connection on which it came.

    Args:
        stream: its number.
    """

    stream: int


@record
class CarrierOver:
    """A connection is to be closed, once its `data_to_send` is sent. It is not heard of any more.

    Args:
        carrier: the connection.
        why: for people.
        stranger: whether it has not proven to belong to a stream.
    """

    carrier: int
    why: str
    stranger: bool


ServerEvent: TypeAlias = PlainCame | StreamCame | CarrierOver | CarrierLost | CarrierBack | Arrived | StreamOver
