"""A slave's events in words, one line each."""

from __future__ import annotations

from typing import assert_never

from slaveproto.ci.show.amounts import size_words, span_words
from slaveproto.slave.events import (
    Attached,
    AttachRefused,
    BuildersListed,
    CommandFinished,
    CommandStarted,
    Connecting,
    Detached,
    Leaving,
    LineBack,
    LineLost,
    MasterSaid,
    SlaveEvent,
    SlaveNotice,
    Stopped,
    WaitingForMaster,
)


def json_line(event: SlaveEvent | None, text: str, time: float) -> str:
    """Return a line of a slave's log as one line of JSON.

    Args:
        event: what the line is about; None if it is no announcement.
        text: the line.
        time: in seconds since 1970.
    """
    # Few logs need it.
    import json
    import re

    name = "note" if event is None else re.sub("(?<!^)(?=[A-Z])", "-", type(event).__name__).lower()
    return json.dumps({"time": round(time, 3), "event": name, "text": text})


def text_of(event: SlaveEvent) -> str:
    """Return what happened, in words; those of the master may contain anything."""
    match event:
        case Connecting(host, port):
            return f"connecting to {host}:{port}"
        case WaitingForMaster():
            return "connected; waiting for the master to speak"
        case Attached(()):
            return "attached, but the master listed no builders; if it should have, look into its log"
        case Attached(builders):
            return f"attached; {len(builders)} builder{'' if len(builders) == 1 else 's'}: {_names(builders)}"
        case AttachRefused(why, retry_in):
            return f"the master refused the login: {why}; {_retry(retry_in)}"
        case Detached(why, retry_in):
            return f"not connected: {why}; {_retry(retry_in)}"
        case LineLost(why, waiting):
            return f"link lost ({why}); builds go on, {size_words(waiting)} wait"
        case LineBack(seconds):
            return f"link back after {span_words(seconds)}"
        case MasterSaid(text, None):
            return f"message from master: {text}"
        case MasterSaid(text, builder):
            return f"message from master to {builder}: {text}"
        case BuildersListed(added, removed, leftover):
            parts = (("new builders", added), ("removed builders", removed), ("directories of no builder", leftover))
            return "; ".join(f"{what}: {_names(names)}" for what, names in parts if names) or "builders unchanged"
        case CommandStarted(builder, command, number):
            return f"{builder}: {command} (command {number}) started"
        case CommandFinished():
            return f"{event.builder}: {event.command} (command {event.id}) {_end_of(event)}"
        case Leaving(why, within):
            limit = "" if within is None else f" within {within:g} s"
            return f"leaving: {why}; no new builds, what runs may end{limit}"
        case SlaveNotice(text):
            return text
        case Stopped(why, gave_up):
            return f"{'giving up' if gave_up else 'stopping'}: {why}"
        case _:
            assert_never(event)


def _end_of(event: CommandFinished) -> str:
    if event.dropped:
        return "ended, and the master does not hear of it"
    if event.failure is not None:
        return f"failed: {event.failure}"
    return "finished" if event.rc is None else f"finished with exit code {event.rc}"


def _retry(seconds: float | None) -> str:
    return "not trying again" if seconds is None else f"trying again in {seconds:.1f} s"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
