"""A master's events in words, one line each. What peers may repeat is told once a minute, and of all that a little."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final, assert_never

from slaveproto.allowances import Allowances
from slaveproto.ci.show.amounts import size_words, span_words
from slaveproto.master.events import (
    AccountWanted,
    BuildersChanged,
    BuildLost,
    BuildRefused,
    BuildStarted,
    ChangeReceived,
    GuestCalled,
    LoginFailed,
    MasterEvent,
    MasterNotice,
    Ponged,
    ShutdownWanted,
    SlaveAttached,
    SlaveBack,
    SlaveCut,
    SlaveDetached,
    StepFinished,
    StepSpoke,
)

INTERVAL: Final = 60.0
"""Seconds in which a failed login or a remark that is repeated is told once."""

MOST_REMEMBERED: Final = 1000
"""Failed logins and remarks that are remembered."""

MOST_LINES: Final = 10
"""Lines a second about failed logins and remarks, all together."""

_QUOTED: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[0-9]+")


class MasterReport:
    """Puts events into words.

    Failed logins are told once a minute: those with a wrong password for each name, others for each address and reason.
    So are remarks, those about slaves for each slave. A reason counts without what it quotes, so that a client cannot
    make up new ones. There are no more than `MOST_LINES` of them a second; the next one tells how many were left out.
    """

    def __init__(self) -> None:
        # When it was told last, and how often it happened since.
        self._told: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._lines = Allowances[None](MOST_LINES, MOST_LINES)
        self._left_out = 0

    def text_of(self, event: MasterEvent, now: float) -> str | None:
        """Return what happened, in words; None for what need not be told. `now` is in seconds."""
        match event:
            case LoginFailed():
                return self._failed_login(event, now)
            case SlaveAttached(slave, peer, info, builders):
                version = f", {info.version}" if info.version else ""
                return f"slave {slave} attached from {peer}{version}; builders: {', '.join(builders) or 'none'}"
            case SlaveDetached(slave, why):
                return f"slave {slave} detached: {why}"
            case SlaveCut(slave, why, waiting):
                return f"slave {slave} lost its link, its builds go on: {why}; {size_words(waiting)} wait"
            case SlaveBack(slave, peer, seconds):
                return f"slave {slave} is back after {span_words(seconds)}, from {peer}"
            case BuildersChanged(slave, builders):
                return f"slave {slave} has other builders: {', '.join(builders) or 'none'}"
            case ChangeReceived(_, change):
                words = f"change by {change.who}"
                about = (("revision", change.revision), ("branch", change.branch), ("project", change.project))
                return "; ".join((words, *(f"{what} {text}" for what, text in about if text)))
            case ShutdownWanted(slave):
                return f"slave {slave} wants to be shut down"
            case MasterNotice(text, None):
                return self._once(("", _QUOTED.sub("", text)), text, now)
            case MasterNotice(text, slave):
                return self._once((f"slave {slave}", _QUOTED.sub("", text)), f"slave {slave}: {text}", now)
            case BuildLost() | BuildRefused() | BuildStarted() | StepFinished() | StepSpoke() | Ponged():
                # The run of the build tells of it.
                return None
            case AccountWanted() | GuestCalled():
                # No master is configured to ask here.
                return None
            case _:
                assert_never(event)

    def _failed_login(self, event: LoginFailed, now: float) -> str | None:
        host = event.peer.rpartition(":")[0] or event.peer
        named = event.credentials and event.name is not None
        key = ("name", event.name or "") if named else (host, _QUOTED.sub("", event.why))
        name = "" if event.name is None else f" as {event.name!r}"
        return self._once(key, f"login{name} from {event.peer} failed: {event.why}", now)

    def _once(self, key: tuple[str, str], text: str, now: float) -> str | None:
        """Return the text, unless its like was told a short time ago, or too much is told at all."""
        last, more = self._told.get(key, (None, 0))
        if last is not None and now < last + INTERVAL:
            self._told[key] = last, more + 1
            return None
        if not self._lines.spend(None, now):
            self._left_out += 1
            return None
        self._told[key] = now, 0
        self._told.move_to_end(key)
        if len(self._told) > MOST_REMEMBERED:
            self._told.popitem(last=False)
        again = f" ({more} more since the last time it was told)" if more else ""
        left_out, self._left_out = self._left_out, 0
        others = f" ({left_out} other lines like this were left out)" if left_out else ""
        return f"{text}{again}{others}"
