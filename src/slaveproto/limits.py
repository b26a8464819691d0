"""Bounds on what a peer can make us hold. The defaults fit every Buildbot peer that was tried."""

from __future__ import annotations

from typing import Final

from slaveproto.records import record

SIZE_LIMIT: Final = 640 * 1024
"""Most bytes of one string and most elements of one list that either Twisted reads or writes."""


@record
class Limits:
    """Bounds of one connection. Exceeding one is a `RemoteProtocolError`.

    Args:
        string: bytes in one byte string.
        elements: elements in one list.
        prefix: digits before a type byte.
        depth: lists inside lists. Twisted's Banana has no bound; its Jelly stops near 330.
        message: bytes of one whole message. Twisted has no bound.
        message_elements: elements of one whole message, all lists together. Twisted has no bound.
        calls: calls of the peer that we have not answered yet.
        references: references to the peer's objects that we have not released yet.
        unsent: bytes that we have for a peer that does not read them, before we look at more of its own.
        call_id: bytes of a call's id, which is echoed; Twisted's are integers.
        messages: messages from now on, until other limits are set, besides calls and answers that are plain (these are
            events, which the owner can count). Twisted has no bound.
    """

    string: int = SIZE_LIMIT
    elements: int = SIZE_LIMIT
    prefix: int = 64
    depth: int = 128
    message: int = 16 * 1024 * 1024
    message_elements: int = 1_000_000
    calls: int = 10_000
    references: int = 10_000
    unsent: int = 64 * 1024 * 1024
    call_id: int = 1000
    messages: int = 2**63 - 1
