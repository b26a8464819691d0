"""Mending: a slave and a master of two generations understand each other, and neither is changed.

A `Mender` stands between the two ends of a Perspective Broker connection. What both ends bear passes as it is, with its
numbers; what one of them does not bear is put right by a row of `MENDS`.
"""

from slaveproto.mend.events import Mended, MendEvent, PassedOn, Side
from slaveproto.mend.mender import Mender
from slaveproto.mend.rows import BEYOND, MENDS, Beyond, Mend

__all__ = ["BEYOND", "MENDS", "Beyond", "Mend", "MendEvent", "Mended", "Mender", "PassedOn", "Side"]
