"""The scheduler of builds: which builder on which slave, when, and again or not. Pure: no clock, no slave, no file.

Rules.

1. What is wanted is a *wish*: a builder, and what is asked of its build. Equal wishes are one, however often they come;
   wishing it again replaces the slaves that it may run on, and shortens no pause. Wishes for one builder that ask for
   something else are different ones, and are built each for itself.
2. It is started on the first of its slaves on which its builder is idle, which runs fewer builds than it may, and which
   does not run this builder already. What has waited longest is started first; what has no slave holds up nothing
   behind it.
3. While a run of a wish is started and has not begun, no other run of it is started: the first may still take whatever
   makes the same wish.
4. A run that was not taken by its slave, or whose slave was lost (RETRY), is tried again, behind what waits: after a
   pause that doubles with each attempt, and on another slave rather than on this one. The last of `attempts` tries is
   the end of it. What is wished anew meanwhile is not wanted twice: it takes pause and attempt over, but for those of
   a last try.
5. After `revise` a further try uses the new slaves, or does not happen where the builder is gone.
6. After `stop` nothing is started, and everything that waits ends with the result of the stop.
7. While it is held, because storage is unwell, nothing is started; all else goes on.
8. After `drain` nothing is started, and what waits goes on waiting. Once nothing runs, or its time is over, it is
   `drained`, and the time for `stop` has come.

Not here: which builders of a slave are idle, which is the one answer of `MasterSession.idle_builders`; requests,
changes and times of the day, which the service has; what may be asked of a build, which here is a text that is equal or
not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import attrs

from slaveproto.master.results import Result

PATIENCE: Final = 10.0
"""Seconds until a builder is tried again after a slave did not take it, the first time."""
SHORTEST_PAUSE: Final = 1.0
"""Seconds until a builder is tried again whose slave was lost, the first time."""
LONGEST_PAUSE: Final = 300.0


def pause(result: Result | None, attempt: int) -> float:
    """Return how many seconds pass between an attempt that came to nothing and the next one."""
    shortest = PATIENCE if result is None else SHORTEST_PAUSE
    # No attempt doubles it more often than it takes to be the longest.
    return min(LONGEST_PAUSE, shortest * 2.0 ** min(attempt - 1, 10))


@attrs.frozen
class Wish:
    """A build that is wanted.

    Args:
        builder: the name of the builder.
        asked: what is asked of the build; requests that ask for the same have the same text, for nothing the empty one.
    """

    builder: str
    asked: str = ""


@attrs.frozen
class RunStart:
    """A decision to build something now.

    Args:
        run: number of the run.
        wish: what.
        slave: the name of the slave.
        attempt: from 1.
    """

    run: int
    wish: Wish
    slave: str
    attempt: int


@attrs.frozen
class _Wanted:
    """A wish that waits."""

    wish: Wish
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
    """Builds that are wanted, and those that run. Times are in seconds of any clock that never goes back.

    Args:
        most: how many builds a slave may run at a time, by name; None, or no entry, for any number.
        attempts: how often a build is tried whose slave is lost or does not take it; None for any number.
    """

    def __init__(self, most: Mapping[str, int | None], attempts: int | None = None) -> None:
        self._most = most
        self._attempts = attempts
        self._wanted: dict[Wish, _Wanted] = {}
        self._running: dict[int, _Running] = {}
        self._revised: Mapping[str, tuple[str, ...]] | None = None
        self._stopped: Result | None = None
        self._held = False
        self._drain_until: float | None = None
        self._last = 0
        self.finals: dict[str, Result] = {}
        """The result of each builder of which something is not wanted any more: the last one."""

    @property
    def waiting(self) -> Mapping[Wish, tuple[str, ...]]:
        """Wishes that wait, with the slaves that they may run on."""
        return {wish: wanted.slaves for wish, wanted in self._wanted.items()}

    def wants(self, wish: Wish) -> bool:
        """Whether a wish waits."""
        return wish in self._wanted

    @property
    def running(self) -> tuple[RunStart, ...]:
        """The runs that are not over."""
        return tuple(running.start for running in self._running.values())

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped is not None

    def want(self, wish: Wish, slaves: Iterable[str]) -> None:
        """Want a build, on one of some slaves."""
        if self._stopped is None:
            before = self._wanted.pop(wish, _Wanted(wish, ()))
            self._wanted[wish] = attrs.evolve(before, slaves=tuple(slaves))
        else:
            self.finals[wish.builder] = self._stopped

    def resume(self, wish: Wish, slaves: Iterable[str], tries: int, now: float) -> None:
        """Want a build that was tried before, by a master that is no more, or by this one when it forgot it.

        Args:
            wish: what is wanted.
            slaves: those that it may run on.
            tries: how often it was tried in vain.
            now: the time.
        """
        self.want(wish, slaves)
        if tries and self._stopped is None:
            self._wanted[wish] = attrs.evolve(
                self._wanted[wish], attempt=tries + 1, not_before=now + pause(Result.RETRY, tries)
            )

    def forget(self, wishes: Collection[Wish]) -> None:
        """Want some builds no more; those that run go on."""
        for wish in wishes:
            self._wanted.pop(wish, None)

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
        self.finals |= {wish.builder: result for wish in self._wanted}
        self._wanted.clear()

    def hold(self, held: bool) -> None:
        """Start nothing, or start things again."""
        self._held = held

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
        if self._held or self._drain_until is not None:
            return starts
        for wanted in list(self._wanted.values()):
            slave = self._slave_for(wanted, idle, now)
            if slave is not None:
                del self._wanted[wanted.wish]
                self._last += 1
                start = RunStart(self._last, wanted.wish, slave, wanted.attempt)
                self._running[start.run] = _Running(start, wanted)
                starts.append(start)
        return starts

    def _slave_for(self, wanted: _Wanted, idle: Mapping[str, Collection[str]], now: float) -> str | None:
        builder = wanted.wish.builder
        slaves = [slave for slave in wanted.slaves if builder in idle.get(slave, ())]
        # Most of many wishes for one builder are done with here.
        if now < wanted.not_before or not slaves:
            return None
        running = list(self._running.values())
        if any(not run.begun and run.start.wish == wanted.wish for run in running):
            return None
        for slave in slaves:
            mine = [run.start.wish.builder for run in running if run.start.slave == slave]
            most = self._most.get(slave)
            if builder not in mine and (most is None or len(mine) < most):
                return slave
        return None

    def begun(self, run: int) -> None:
        """Take note that a slave has taken a run."""
        self._running[run].begun = True

    def is_last(self, run: int, result: Result | None) -> bool:
        """Whether a run that ends so comes to nothing and may not be tried again; with None, no slave took it."""
        return self._goes_on(run, result) and self._attempts is not None and self._attempt(run) >= self._attempts

    def over(self, run: int, result: Result | None, now: float) -> None:
        """Take note that a run is over; with None, no slave took it. A last try ends with EXCEPTION."""
        goes_on, last = self._goes_on(run, result), self.is_last(run, result)
        running = self._running.pop(run)
        builder = running.start.wish.builder
        if last:
            self.finals[builder] = Result.EXCEPTION
        elif goes_on:
            self._try_again(running, result, now)
        elif result not in (None, Result.RETRY) or self._stopped is not None:
            self.finals[builder] = result or self._stopped or Result.RETRY

    def _attempt(self, run: int) -> int:
        return self._running[run].start.attempt

    def _goes_on(self, run: int, result: Result | None) -> bool:
        """Whether a run came to nothing that is still wanted: it is not stopped, and its builder not gone."""
        gone = self._revised is not None and self._running[run].start.wish.builder not in self._revised
        return result in (None, Result.RETRY) and self._stopped is None and not gone

    def _try_again(self, running: _Running, result: Result | None, now: float) -> None:
        start, wanted = running.start, running.wanted
        if start.wish in self._wanted:
            slaves = self._wanted[start.wish].slaves
        else:
            slaves = wanted.slaves if self._revised is None else self._revised[start.wish.builder]
        if start.slave in slaves:
            slaves = (*(slave for slave in slaves if slave != start.slave), start.slave)
        not_before = now + pause(result, start.attempt)
        self._wanted[start.wish] = _Wanted(start.wish, slaves, start.attempt + 1, not_before)

    def deadline(self, now: float) -> float | None:
        """Return the next time at which `start` may decide otherwise by itself, None if there is none."""
        times = [] if self._held else [wanted.not_before for wanted in self._wanted.values()]
        if self._drain_until is not None:
            times = [self._drain_until]
        return min((when for when in times if when > now), default=None)
