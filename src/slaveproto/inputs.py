"""Inputs that both kinds of session take from their owner."""

from __future__ import annotations

from slaveproto.errors import HostError
from slaveproto.records import record


@record
class Wakeup:
    """Look at the clock: the deadline has come."""


@record
class Received:
    """Bytes came in over a connection."""

    connection: int
    data: bytes


@record
class Disconnected:
    """A connection ended, or never came about; `why` is the operating system's reason, empty for an orderly end."""

    connection: int
    why: str


@record
class Completed:
    """A request was performed; `result` is its reply."""

    request: int
    result: object


@record
class Rejected:
    """A request could not be performed."""

    request: int
    error: HostError


@record
class Stop:
    """Stop: a slave drops its connection and kills what runs, a master closes every connection. `why` is for people."""

    why: str
