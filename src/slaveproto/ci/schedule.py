"""Schedules of builders: lengths of time, times of the day, and changes that count. Pure: the caller tells the time.

Rules of a `Timetable`, which is told two times: `wall`, in seconds since 1970, which may be set to anything at any
moment, and `steady`, in seconds of a clock that only ever goes on.

1. `every` is counted by the steady clock. The wall clock counts only once, when a master starts: it tells how long ago
   the last time was, before the start; a last time that lies in the future was just now.
2. `daily` is due when the wall clock has passed the time, however far it was set. The same time of the day comes at
   most once in `SHORTEST_DAY` of the steady clock, so that a clock that is set back repeats nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import Final

import attrs

from slaveproto.master.changes import Change

_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_LENGTH: Final = re.compile(r"(?=.)" + "".join(rf"(?:([0-9]{{1,9}}){unit})?" for unit in _UNITS))
_TIME_OF_DAY: Final = re.compile("([01]?[0-9]|2[0-3]):([0-5][0-9])")

SHORTEST_DAY: Final = 20 * 3600.0
"""Seconds; an hour less than 24 is the shortest day of an honest clock, and others may be off by more."""

CHANGE_KEYS: Final = ("branch", "project", "repository", "category", "codebase")
"""Keys by which changes may be chosen."""


@attrs.frozen
class Triggers:
    """Reasons to build a builder, besides `slaveproto trigger`.

    Args:
        change: which changes, as the texts that are allowed for each of some of `CHANGE_KEYS`; None for no change.
        every: seconds between two builds that were not asked for otherwise; None for none.
        daily: local times of the day.
    """

    change: Mapping[str, tuple[str, ...]] | None = None
    every: float | None = None
    daily: tuple[time, ...] = ()

    def wants(self, change: Change) -> bool:
        """Whether a change is one that counts."""
        return self.change is not None and all(getattr(change, key) in texts for key, texts in self.change.items())


def parse_length(text: str) -> float | None:
    """Return the seconds of such as `90s`, `15m`, `1h30m` or `1d`; None if it is something else."""
    match = _LENGTH.fullmatch(text)
    if match is None:
        return None
    return sum(int(count) * unit for count, unit in zip(match.groups("0"), _UNITS.values(), strict=True))


def parse_time_of_day(text: str) -> time | None:
    """Return the time that `HH:MM` is; None if it is none."""
    match = _TIME_OF_DAY.fullmatch(text)
    return None if match is None else time(int(match[1]), int(match[2]))


def next_daily(times: Iterable[time], after: datetime) -> datetime | None:
    """Return the next of some times of the day, all local and without a zone; None if there are no times."""
    found = [datetime.combine(after.date() + timedelta(days=days), at) for at in times for days in (0, 1)]
    return min((moment for moment in found if moment > after), default=None)


def next_due(times: Iterable[time], after: float) -> float:
    """Return when, in seconds since 1970, the next of some local times of the day is; infinity if there are none."""
    wanted = tuple(times)
    moment = next_daily(wanted, datetime.fromtimestamp(after))
    # When clocks are set back an hour comes twice: what was due in the first one is not due again.
    while moment is not None and moment.timestamp() <= after:
        moment = next_daily(wanted, moment)
    return math.inf if moment is None else moment.timestamp()


class Timetable:
    """Decides when builders are due by `every` and `daily`.

    Args:
        triggers: of each builder.
        last: seconds since 1970 at which a builder was last due, for those that ever were.
        wall: the time now.
        steady: the time now.
    """

    def __init__(self, triggers: Mapping[str, Triggers], last: Mapping[str, float], wall: float, steady: float) -> None:
        self._triggers = triggers
        self._wall = wall
        # Before the start of the steady clock, too.
        self._last = {builder: steady - max(0.0, wall - when) for builder, when in last.items()}
        self._begun = steady
        self._daily: dict[tuple[str, time], float] = {}

    def revise(self, triggers: Mapping[str, Triggers]) -> None:
        """Take other triggers; what was due before counts for them, too."""
        self._triggers = triggers

    def due(self, wall: float, steady: float) -> list[str]:
        """Return the builders that are due now, each once; they were due then."""
        found = []
        for builder, triggers in self._triggers.items():
            times = [at for at in triggers.daily if self._is_due(builder, at, wall, steady)]
            self._daily |= {(builder, at): steady for at in times}
            if times or self._next_interval(builder, triggers) <= steady:
                self._last[builder] = steady
                found.append(builder)
        self._wall = wall
        return found

    def next(self, wall: float, steady: float) -> float:
        """Return in how many seconds a builder may be due, if the wall clock is not set; infinity if none ever is."""
        intervals = [self._next_interval(builder, triggers) - steady for builder, triggers in self._triggers.items()]
        times = [next_due(triggers.daily, wall) - wall for triggers in self._triggers.values()]
        return max(0.0, min([math.inf, *intervals, *times]))

    def _next_interval(self, builder: str, triggers: Triggers) -> float:
        return math.inf if triggers.every is None else self._last.get(builder, self._begun) + triggers.every

    def _is_due(self, builder: str, at: time, wall: float, steady: float) -> bool:
        if next_due((at,), self._wall) > wall:
            return False
        last = self._daily.get((builder, at))
        return last is None or steady - last >= SHORTEST_DAY
