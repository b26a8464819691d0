"""Place, patience and bounds of a relay."""

from __future__ import annotations

from enum import Enum, auto

import attrs

from slaveproto.records import record
from slaveproto.resume.policy import ResumePolicy


class Place(Enum):
    """The place of a relay: it decides on which side streams are spoken that can resume."""

    BESIDE_MASTER = auto()
    BESIDE_SLAVES = auto()


@record
class RelayConfig:
    """Place, patience and bounds of a relay. Times are in seconds.

    Args:
        place: beside the master (streams and plain slaves come in, plain connections go out) or beside the slaves (the
            reverse).
        plain: beside a master, whether plain slaves may come. A key forbids it in either place.
        key: the secret that both relays share; empty for none.
        certified: whether those that come have shown a certificate that is trusted.
        mend: whether a slave and a master of two generations are to understand each other: see `slaveproto.mend`.
        policy: patience and bounds of each stream.
        reach: from the wish to connect until the connection can be used.
        connections: most connections that came in.
        visitors: how many of them may belong to no pair of a slave and a master that have talked.
        visitors_per_address: how many of those may be of one IPv4 address, or of one network of 64 bits of IPv6.
    """

    place: Place
    plain: bool = True
    key: bytes = attrs.field(default=b"", repr=False)
    certified: bool = False
    mend: bool = False
    policy: ResumePolicy = ResumePolicy()
    reach: float = 30.0
    connections: int = 10_000
    visitors: int = 500
    visitors_per_address: int = 100
