"""Announcements of a relay in words, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

import attrs

from slaveproto.relay.events import (
    Draining,
    LinkBack,
    LinkLost,
    PairMended,
    PairOpened,
    PairOver,
    PairPassedOn,
    RelayEvent,
    TurnedAway,
)

NAMES: Final[Mapping[type[RelayEvent], str]] = {
    PairOpened: "opened",
    PairMended: "mended",
    PairPassedOn: "passed-on",
    LinkLost: "link-lost",
    LinkBack: "link-back",
    PairOver: "ended",
    TurnedAway: "turned-away",
    Draining: "draining",
}
"""The names of announcements in JSON."""


def words_of_relay(event: RelayEvent) -> str:
    """Return an announcement in one line."""
    match event:
        case PairOpened(_, peer, resumable):
            kind = "a stream that outlives its link" if resumable else "a plain connection: if it breaks, builds do"
            return f"{peer}: joined by {kind}"
        case PairMended(_, peer, row, side):
            return f"{peer}: mended for the {side}: {row} (see docs/mend.md)"
        case PairPassedOn(_, peer, what, side):
            return f"{peer}: the {side} sent what is not understood, and it was passed on: {what}"
        case LinkLost(_, peer, why, waiting):
            return f"{peer}: link lost ({why}); builds go on, {_size(waiting)} wait"
        case LinkBack(_, peer, seconds):
            return f"{peer}: link back after {_span(seconds)}"
        case PairOver(_, peer, why):
            return f"{peer}: ended{f' ({why})' if why else ''}"
        case TurnedAway(peer, why):
            return f"{peer}: turned away ({why})"
        case Draining(why, pairs, within):
            left = f"{pairs} are left, and have {_span(within)} to end" if pairs else "none is left"
            return f"{why}: no more slaves are let in; {left}"
        case _:
            assert_never(event)


def json_of_relay(event: RelayEvent, time: float) -> str:
    """Return an announcement as one line of JSON.

    Args:
        event: the announcement.
        time: in seconds since 1970.
    """
    # Without --json it is not needed.
    import json

    fields: dict[str, Any] = {field.name: getattr(event, field.name) for field in attrs.fields(type(event))}
    return json.dumps({"time": round(time, 3), "event": NAMES[type(event)], **fields})


def _size(number: int) -> str:
    for unit, size in (("MB", 10**6), ("KB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
