"""What whoever drives a session reports to it, a slave's as well as a master's."""

from __future__ import annotations

import attrs

from slaveproto.errors import HostError


@attrs.frozen
class Wakeup:
    """Look at the clock: the deadline has come."""


@attrs.frozen
class Received:
    """Bytes came in over a connection."""

    connection: int
    data: bytes


@attrs.frozen
class Disconnected:
    """A connection ended, or never came about; `why` is the operating system's reason, empty for an orderly end."""

    connection: int
    why: str


@attrs.frozen
class Completed:
    """A request was performed; `result` is its reply."""

    request: int
    result: object


@attrs.frozen
class Rejected:
    """A request could not be performed."""

    request: int
    error: HostError
