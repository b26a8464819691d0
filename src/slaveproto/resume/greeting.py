"""The offer that a listener begins with, and the choice of its client.

It is the beginning of Perspective Broker: the server lists the dialects that it knows, and the client picks one. A
client of Twisted passes over those that it does not know, so plain clients may come to the same port, and a client that
can resume finds out whether the server can, without a delay and without a broken connection.

Source: `twisted/spread/banana.py` of Twisted 8.2 to 26.10.
"""

from __future__ import annotations

from typing import Final

from slaveproto.errors import RemoteProtocolError
from slaveproto.limits import Limits
from slaveproto.wire.banana import NEED_DATA, Decoder, encode
from slaveproto.wire.connection import PROFILES

DIALECT: Final = b"slaveproto-resume/1"
"""The name of this protocol, with its version."""

CHOICE: Final = encode(DIALECT, vocabulary=False, limits=Limits())
"""Bytes by which a client picks it."""

LARGEST_OFFER: Final = 4096
"""Bytes in which a server has to make its offer."""

_PLAIN_CHOICES: Final = tuple(encode(dialect, vocabulary=False, limits=Limits()) for dialect in PROFILES)

_LIMITS: Final = Limits(string=100, elements=100, message=4096)


def offer(*, plain: bool) -> bytes:
    """Return the first bytes of a listener.

    Args:
        plain: whether Perspective Broker itself may be spoken there, too.
    """
    return encode([*(PROFILES if plain else ()), DIALECT], vocabulary=False, limits=Limits())


def read_offer(data: bytes) -> bool | None:
    """Return whether the first bytes of a listener offer a stream that can be resumed; None if more have to come."""
    decoder = Decoder(_LIMITS)
    decoder.feed(data)
    try:
        dialects = decoder.next_expression()
    except RemoteProtocolError:
        return False
    if dialects is NEED_DATA:
        return None if len(data) <= LARGEST_OFFER else False
    return isinstance(dialects, list) and DIALECT in dialects


def read_choice(data: bytes) -> bool | None:
    """Return whether a client picked a stream that can be resumed; None if more bytes have to come."""
    if any(len(data) < len(choice) and choice.startswith(data) for choice in (CHOICE, *_PLAIN_CHOICES)):
        return None
    return data.startswith(CHOICE)


def is_plain_choice(data: bytes) -> bool:
    """Return whether a client that picked no stream picked a dialect of Perspective Broker."""
    return data.startswith(_PLAIN_CHOICES)
