"""The scheduler of builds: which builder on which slave, when, and again or not. Pure: no clock, no slave, no file.

Rules.

1. A builder is wanted once, however often it is wanted; wanting it again replaces the slaves that it may run on.
2. It is started on the first of its slaves on which it is idle, which runs fewer builds than it may, and which does not
   run this builder already. What has waited longest is started first; what has no slave holds up nothing behind it.
3. While a run of a builder is started and has not begun, no other run of it is started: the first may still take
   whatever the builder is wanted for.
4. A run that was not taken by its slave is tried again after `PATIENCE`; one whose slave was lost (RETRY) at once,
   behind what waits. After `attempts` tries its builder is given up. A builder that is wanted anew meanwhile is not
   wanted twice.
5. After `revise` a further try uses the new slaves, or does not happen where the builder is gone.
6. After `stop` nothing is started, and everything that waits ends with the result of the stop.
7. After `drain` nothing is started, and what waits goes on waiting. Once nothing runs, or its time is over, it is
   `drained`, and the time for `stop` has come.

Not here: which builders of a slave are idle, which is the one answer of `MasterSession.idle_builders`; requests,
changes and times of the day, which the service has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import attrs

from slaveproto.master.results import Result

PATIENCE: Final = 10.0
"""Seconds until a builder is tried again after a slave did not take it."""


@attrs.frozen
class RunStart:
    """A decision to run a builder now.

    Args:
        run: number of the run.
        builder: its name.
        slave: the name of the slave.
        attempt: from 1.
    """

    run: int
    builder: str
    slave: str
    attempt: int


@attrs.frozen
class _Wanted:
    """A builder that waits."""

    builder: str
    slaves: tuple[str, ...]
    attempt: int = 1
    not_before: float = 0.0


@attrs.define
class _Running:
    """A run that is not over."""

    start: RunStart
    wanted: _Wanted
    begun: bool = False


class Scheduler:
    """Builders that are wanted, and those that run. Times are in seconds of any clock that never goes back.

    Args:
        most: how many builds a slave may run at a time, by name; None, or no entry, for any number.
        attempts: how often a builder is tried whose slave is lost or does not take it; None for any number.
    """

    def __init__(self, most: Mapping[str, int | None], attempts: int | None = None) -> None:
        self._most = most
        self._attempts = attempts
        self._wanted: dict[str, _Wanted] = {}
        self._running: dict[int, _Running] = {}
        self._revised: Mapping[str, tuple[str, ...]] | None = None
        self._stopped: Result | None = None
        self._drain_until: float | None = None
        self._last = 0
        self.finals: dict[str, Result] = {}
        """The result of each builder that is not wanted any more."""

    @property
    def waiting(self) -> Mapping[str, tuple[str, ...]]:
        """Builders that wait, with the slaves that they may run on."""
        return {name: wanted.slaves for name, wanted in self._wanted.items()}

    @property
    def running(self) -> tuple[RunStart, ...]:
        """The runs that are not over."""
        return tuple(running.start for running in self._running.values())

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped is not None

    def want(self, builder: str, slaves: Iterable[str]) -> None:
        """Want a builder, on one of some slaves."""
        self.forget([builder])
        if self._stopped is None:
            self._wanted[builder] = _Wanted(builder, tuple(slaves))
        else:
            self.finals[builder] = self._stopped

    def forget(self, builders: Collection[str]) -> None:
        """Want some builders no more; those that run go on."""
        for builder in builders:
            self._wanted.pop(builder, None)

    def revise(self, slaves: Mapping[str, tuple[str, ...]], most: Mapping[str, int | None]) -> None:
        """Take new rules for what is started from now on.

        Args:
            slaves: the slaves of every builder that there is.
            most: as for the constructor.
        """
        self._revised = slaves
        self._most = most

    def stop(self, result: Result) -> None:
        """Start nothing any more; what waits ends with `result`."""
        self._stopped = result
        self.finals |= dict.fromkeys(self._wanted, result)
        self._wanted.clear()

    def drain(self, until: float) -> None:
        """Start nothing any more; what runs may go on until then."""
        self._drain_until = until

    def drained(self, now: float) -> bool:
        """Whether it was told to drain, and nothing runs any more or the time for that is over."""
        return self._drain_until is not None and (not self._running or now >= self._drain_until)

    def start(self, idle: Mapping[str, Collection[str]], now: float) -> list[RunStart]:
        """Decide what is started now.

        Args:
            idle: the builders on which a build can be started, by slave.
            now: the time.
        """
        starts: list[RunStart] = []
        if self._drain_until is not None:
            return starts
        for wanted in list(self._wanted.values()):
            slave = self._slave_for(wanted, idle, now)
            if slave is not None:
                del self._wanted[wanted.builder]
                self._last += 1
                start = RunStart(self._last, wanted.builder, slave, wanted.attempt)
                self._running[start.run] = _Running(start, wanted)
                starts.append(start)
        return starts

    def _slave_for(self, wanted: _Wanted, idle: Mapping[str, Collection[str]], now: float) -> str | None:
        starts = [running.start for running in self._running.values()]
        if now < wanted.not_before or any(
            not running.begun for running in self._running.values() if running.start.builder == wanted.builder
        ):
            return None
        for slave in wanted.slaves:
            mine = [start.builder for start in starts if start.slave == slave]
            most = self._most.get(slave)
            if (
                wanted.builder in idle.get(slave, ())
                and wanted.builder not in mine
                and (most is None or len(mine) < most)
            ):
                return slave
        return None

    def begun(self, run: int) -> None:
        """Take note that a slave has taken a run."""
        self._running[run].begun = True

    def over(self, run: int, result: Result | None, now: float) -> None:
        """Take note that a run is over; with None, no slave took it."""
        wanted = self._running.pop(run).wanted
        again = self._again(wanted, result, now)
        if again is not None:
            if wanted.builder not in self._wanted:
                self._wanted[wanted.builder] = again
        elif not self._dropped(wanted, result):
            self.finals[wanted.builder] = result or self._stopped or Result.RETRY

    def _again(self, wanted: _Wanted, result: Result | None, now: float) -> _Wanted | None:
        """Return what is wanted after a run is over, None if it is not tried again."""
        if result not in (None, Result.RETRY) or self._stopped is not None:
            return None
        if self._attempts is not None and wanted.attempt >= self._attempts:
            return None
        if self._dropped(wanted, result):
            return None
        slaves = wanted.slaves if self._revised is None else self._revised[wanted.builder]
        not_before = 0.0 if result is not None else now + PATIENCE
        return _Wanted(wanted.builder, slaves, wanted.attempt + 1, not_before)

    def _dropped(self, wanted: _Wanted, result: Result | None) -> bool:
        """Whether a builder that would be tried again is gone from the file."""
        gone = self._revised is not None and wanted.builder not in self._revised
        return gone and result in (None, Result.RETRY) and self._stopped is None

    def deadline(self, now: float) -> float | None:
        """Return the next time at which `start` may decide otherwise by itself, None if there is none."""
        times = [wanted.not_before for wanted in self._wanted.values()]
        if self._drain_until is not None:
            times = [self._drain_until]
        return min((when for when in times if when > now), default=None)
