"""Runs builders on slaves: which one where and when, step after step, and once more when a slave was lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import trio

from slaveproto.ci.file.build_file import BuilderEntry
from slaveproto.master.events import Outcome
from slaveproto.master.results import Progress, Result
from slaveproto.master.steps import AnyStep, Shell
from transports.trio.master import BuildNotStarted, SlaveLost
from transports.trio.nurseries import open_nursery

if TYPE_CHECKING:
    from slaveproto.master.output import Output
    from transports.trio.master import AttachedSlave, Build, Master, RunningStep

PATIENCE_AFTER_REFUSAL: Final = 10.0
"""Seconds until a builder is tried again after a slave did not take it."""


@attrs.frozen
class StepPlace:
    """A step of a build.

    Args:
        number: from 1.
        total: how many there are.
        what: the step.
    """

    number: int
    total: int
    what: AnyStep


class Watcher(Protocol):
    """Is told how builds go. While it takes its time, the step it is told about waits."""

    async def build_started(self, run: Run) -> None:
        """A slave has taken the build."""

    async def step_started(self, run: Run, step: StepPlace) -> None:
        """A step begins."""

    async def output(self, run: Run, step: StepPlace, output: Output) -> None:
        """A step has written something."""

    async def step_ended(self, run: Run, step: StepPlace, outcome: Outcome | None) -> None:
        """A step has ended; None for one that was not begun, and never will be."""

    async def build_ended(self, run: Run, result: Result) -> None:
        """All is over, and the slave is free again."""

    async def refused(self, run: Run, why: str) -> None:
        """The slave did not take the build; nothing else is told of it."""


class Run:
    """One attempt to build a builder.

    Args:
        entry: the builder.
        slave: name of the slave.
        attempt: from 1.
    """

    def __init__(self, entry: BuilderEntry, slave: str, attempt: int) -> None:
        self.entry = entry
        self.slave = slave
        self.attempt = attempt
        self._progress = Progress(entry.steps)
        self._step: RunningStep | None = None
        self._cut: tuple[Result, str] | None = None
        self.begun = False
        """Whether a slave has taken it, and the watcher knows."""
        self._started = False
        self._scope = trio.CancelScope()

    def interrupt(self, result: Result, why: str) -> None:
        """End it early with `result`; `why` is for people."""
        self._cut = result, why
        if not self._started:
            self._scope.cancel()
        if self._step is not None:
            self._step.interrupt(why)

    async def carry_out(self, slave: AttachedSlave, watcher: Watcher, begun: Callable[[], None]) -> Result | None:
        """Run the steps; `begun` is called when the build has begun. Returns None if it did not."""
        if not slave.is_idle(self.entry.name):
            # Since it was chosen, it has lost the builder, or wants to go.
            await watcher.refused(self, "it is not ready any more")
            return None
        try:
            with self._scope:
                async with slave.build(self.entry.name, self.entry.env) as build:
                    self._started = True
                    await watcher.build_started(self)
                    self.begun = True
                    begun()
                    await self._steps_of(build, watcher)
        except BuildNotStarted as error:
            await watcher.refused(self, str(error))
        if not self._started:
            return None
        return self._cut[0] if self._cut is not None else self._progress.result

    async def _steps_of(self, build: Build, watcher: Watcher) -> None:
        places = [StepPlace(number, len(self.entry.steps), step) for number, step in enumerate(self.entry.steps, 1)]
        while (what := self._next_step(build)) is not None:
            while (place := places.pop(0)).what is not what:
                await watcher.step_ended(self, place, None)
            await self._run_step(build, place, watcher)
        for place in places:
            await watcher.step_ended(self, place, None)

    def _next_step(self, build: Build) -> AnyStep | None:
        if self._cut is not None:
            self._progress.cancel(self._cut[0])
        elif build.lost is not None:
            self._progress.cancel(Result.RETRY)
        return self._progress.next_step()

    async def _run_step(self, build: Build, place: StepPlace, watcher: Watcher) -> None:
        logs = {"stdio", *(place.what.logfiles if isinstance(place.what, Shell) else ())}
        await watcher.step_started(self, place)
        try:
            async with build.step(place.what) as step:
                self._step = step
                if self._cut is not None:
                    # Told while the watcher took its time.
                    step.interrupt(self._cut[1])
                async for output in step:
                    # A log that nobody asked for is the slave's invention: it could have any number of them.
                    if output.log in logs:
                        await watcher.output(self, place, output)
                outcome = step.outcome
        except SlaveLost as error:
            # Gone while the watcher took its time.
            outcome = Outcome(Result.RETRY, None, str(error), {}, 0.0)
        finally:
            self._step = None
        self._progress.record(place.what, outcome.result)
        await watcher.step_ended(self, place, outcome)


@attrs.define
class _Wanted:
    entry: BuilderEntry
    slaves: tuple[str, ...]
    attempt: int = 1
    not_before: float = 0.0


class Engine:
    """Builds what is wanted as soon as a slave is free for it.

    Args:
        master: where the slaves are.
        watcher: is told how it goes.
        most: how many builds a slave may run at a time, by name; any number on those that are not in it.
        attempts: how often a build is tried whose slave is lost or does not take it; None for as often as it takes.
    """

    def __init__(
        self, master: Master, watcher: Watcher, most: Mapping[str, int | None], attempts: int | None = None
    ) -> None:
        self._master = master
        self._watcher = watcher
        self._most = most
        self._attempts = attempts
        self._wanted: list[_Wanted] = []
        self._stopped: Result | None = None
        self._revised: Mapping[str, BuilderEntry] | None = None
        self._changed = trio.Event()
        self.running: set[Run] = set()
        self.finals: dict[str, Result] = {}
        """How each builder ended that is not wanted any more."""

    @property
    def waiting(self) -> Mapping[str, Sequence[str]]:
        """What is wanted and does not run: names of builders, and of the slaves they may run on."""
        return {wanted.entry.name: wanted.slaves for wanted in self._wanted}

    def want(self, entry: BuilderEntry, slaves: Iterable[str] | None = None) -> None:
        """Build a builder, on one of `slaves` (by default, of its own). It is built once however often it is wanted."""
        names = tuple(entry.slaves if slaves is None else slaves)
        self.forget([entry.name])
        self._wanted.append(_Wanted(entry, names))
        self._wake()

    def forget(self, builders: Collection[str]) -> None:
        """Do not build these, unless they run already."""
        self._wanted = [wanted for wanted in self._wanted if wanted.entry.name not in builders]

    def revise(self, builders: Mapping[str, BuilderEntry], most: Mapping[str, int | None]) -> None:
        """Take another file: what is tried again is tried as it says, or not at all if it has no such builder.

        Args:
            builders: all of the file, by name.
            most: how many builds a slave may run at a time, in place of what was said before.
        """
        self._revised = builders
        self._most = most
        self._wake()

    def stop(self, result: Result, why: str) -> None:
        """Begin nothing any more, and end what runs with `result`."""
        self._stopped = result
        for run in self.running:
            run.interrupt(result, why)
        self._wake()

    async def run(self, *, until_idle: bool = False) -> None:
        """Work until it was stopped, or with `until_idle` until nothing is wanted, and nothing runs."""
        async with open_nursery() as nursery:
            nursery.start_soon(self._watch_slaves)
            while True:
                self._changed = trio.Event()
                if self._stopped is not None:
                    self.finals |= {wanted.entry.name: self._stopped for wanted in self._wanted}
                    self._wanted.clear()
                else:
                    self._begin(nursery)
                if not self.running and (self._stopped is not None or (until_idle and not self._wanted)):
                    nursery.cancel_scope.cancel()
                    return
                with trio.move_on_at(self._next_attempt()):
                    await self._changed.wait()

    def _next_attempt(self) -> float:
        now = trio.current_time()
        return min((wanted.not_before for wanted in self._wanted if wanted.not_before > now), default=math.inf)

    async def _watch_slaves(self) -> None:
        while True:
            await self._master.wait_change()
            self._wake()

    def _wake(self) -> None:
        self._changed.set()

    def _begin(self, nursery: trio.Nursery) -> None:
        for wanted in list(self._wanted):
            slave = self._free_slave(wanted)
            if slave is not None:
                self._wanted.remove(wanted)
                run = Run(wanted.entry, slave.name, wanted.attempt)
                self.running.add(run)
                nursery.start_soon(self._carry_out, wanted, run, slave)

    def _free_slave(self, wanted: _Wanted) -> AttachedSlave | None:
        builder = wanted.entry.name
        # One that is about to begin may still take what this is wanted for.
        if any(run.entry.name == builder and not run.begun for run in self.running):
            return None
        if trio.current_time() < wanted.not_before:
            return None
        for name in wanted.slaves:
            slave = self._master.slaves.get(name)
            mine = [run for run in self.running if run.slave == name]
            most = self._most.get(name)
            if (
                slave is not None
                and slave.is_idle(builder)
                and (most is None or len(mine) < most)
                and not any(run.entry.name == builder for run in mine)
            ):
                return slave
        return None

    async def _carry_out(self, wanted: _Wanted, run: Run, slave: AttachedSlave) -> None:
        result = await run.carry_out(slave, self._watcher, self._wake)
        if result is not None:
            await self._watcher.build_ended(run, result)
        self.running.discard(run)
        again = result in (None, Result.RETRY) and self._stopped is None
        if again and (self._attempts is None or wanted.attempt < self._attempts):
            self._want_again(wanted, 0.0 if result else trio.current_time() + PATIENCE_AFTER_REFUSAL)
        else:
            self.finals[run.entry.name] = result or self._stopped or Result.RETRY
        self._wake()

    def _want_again(self, wanted: _Wanted, not_before: float) -> None:
        if self._revised is not None:
            entry = self._revised.get(wanted.entry.name)
            if entry is None:
                return
            wanted = attrs.evolve(wanted, entry=entry, slaves=entry.slaves)
        if not any(other.entry.name == wanted.entry.name for other in self._wanted):
            self._wanted.append(attrs.evolve(wanted, attempt=wanted.attempt + 1, not_before=not_before))
