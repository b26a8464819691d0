"""Builds under trio: carries out what the scheduler decides, step after step, and tells of it in events.

Rules.

* It decides nothing: which builder is started where is the scheduler's, which step comes next and how the build stands
  are `Progress`'s, which builders are idle is the master's.
* A listener is awaited: while it takes its time, the step that it is told about waits, and with it the slave.
* No event holds the value of a secret: steps in events are those of the file, and what a slave says is masked before.
  Properties are shown masked, too.
* The words of a step get their values when it begins, so it may use what steps before it found out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

import attrs
import trio

from slaveproto.ci.file.build_file import BuilderEntry
from slaveproto.ci.file.conditions import StepExtras
from slaveproto.ci.file.secrets import SecretUnreadable, filled_env, filled_step
from slaveproto.ci.file.words import Filler, UnfilledWord, worded
from slaveproto.ci.findings import Findings
from slaveproto.ci.leftovers import target_of
from slaveproto.ci.masking import OutputMask, Vault
from slaveproto.ci.properties import OF_BUILDS, unpack, variables
from slaveproto.ci.scheduler import RunStart, Scheduler, Wish
from slaveproto.master.events import Outcome
from slaveproto.master.results import Progress, Result
from slaveproto.master.steps import AnyStep, Shell
from transports.trio.master import BuildNotStarted, SlaveLost
from transports.trio.nurseries import open_nursery

if TYPE_CHECKING:
    from slaveproto.master.output import Output
    from transports.trio.master import AttachedSlave, Build, Master, RunningStep


@attrs.frozen
class StepPlace:
    """A step of a build.

    Args:
        number: from 1.
        total: how many there are.
        what: the step.
        target: the path on the master that it writes to, once it has begun; None if there is none.
    """

    number: int
    total: int
    what: AnyStep
    target: str | None = None


LAST_MOMENTS: Final = 10.0
"""Seconds that builds which are interrupted have to end, besides what their processes get after a TERM."""


def last_moments(entries: Iterable[BuilderEntry]) -> float:
    """Return the seconds that builds of some builders have to end once they are interrupted."""
    steps = (step for entry in entries for step in entry.steps)
    return LAST_MOMENTS + max((step.sigterm_time or 0.0 for step in steps if isinstance(step, Shell)), default=0.0)


# -- events


@attrs.frozen
class RunBegan:
    """A slave has taken a build."""

    run: Run


@attrs.frozen
class RunStepBegan:
    """A step begins."""

    run: Run
    step: StepPlace


@attrs.frozen
class RunOutput:
    """A step has written something."""

    run: Run
    step: StepPlace
    output: Output


@attrs.frozen
class RunStepEnded:
    """A step has ended; the outcome is None for a step that was not begun, and never will be."""

    run: Run
    step: StepPlace
    outcome: Outcome | None


@attrs.frozen
class RunEnded:
    """A build is over, and its slave is free again; `why` has words for what no step tells, else it is empty."""

    run: Run
    result: Result
    why: str = ""


@attrs.frozen
class RunNotTaken:
    """A slave did not take a build; no other event tells of that run. A run that is cut before has no event at all."""

    run: Run
    why: str


@attrs.frozen
class RunGivenUp:
    """A build that slaves did not take is not tried any more. Comes after the last `RunNotTaken`."""

    run: Run
    why: str


RunEvent: TypeAlias = RunBegan | RunStepBegan | RunOutput | RunStepEnded | RunEnded | RunNotTaken | RunGivenUp
Listener: TypeAlias = Callable[[RunEvent], Awaitable[None]]
"""A function that is told of every event."""


class BuildListener(ABC):
    """A listener with a method for each event: it is told of them by `handle`."""

    async def handle(self, event: RunEvent) -> None:
        """Take an event of a build."""
        match event:
            case RunBegan(run):
                await self._build_started(run)
            case RunStepBegan(run, step):
                await self._step_started(run, step)
            case RunOutput(run, step, output):
                await self._output(run, step, output)
            case RunStepEnded(run, step, outcome):
                await self._step_ended(run, step, outcome)
            case RunEnded(run, result, why):
                await self._build_ended(run, result, why)
            case RunNotTaken(run, why):
                await self._refused(run, why)
            case RunGivenUp(run, why):
                await self._given_up(run, why)
            case _:
                assert_never(event)

    @abstractmethod
    async def _build_started(self, run: Run) -> None:
        """A slave has taken the build, and with it all requests that ask for the same."""

    @abstractmethod
    async def _step_started(self, run: Run, step: StepPlace) -> None:
        """A step begins."""

    @abstractmethod
    async def _output(self, run: Run, step: StepPlace, output: Output) -> None:
        """A step has written something."""

    @abstractmethod
    async def _step_ended(self, run: Run, step: StepPlace, outcome: Outcome | None) -> None:
        """A step has ended, or was passed over if `outcome` is None."""

    @abstractmethod
    async def _build_ended(self, run: Run, result: Result, why: str) -> None:
        """All is over."""

    @abstractmethod
    async def _refused(self, run: Run, why: str) -> None:
        """The slave did not take the build."""

    @abstractmethod
    async def _given_up(self, run: Run, why: str) -> None:
        """No slave took the build, and it is not tried any more."""


_NOTHING_BESIDES: Final = StepExtras()


class Run:
    """One attempt to build a builder.

    Args:
        entry: the builder.
        slave: name of the slave.
        attempt: from 1.
        vault: gets the secrets that it reads.
        asked: what is asked of the build, as `properties.pack` has it.
    """

    def __init__(self, entry: BuilderEntry, slave: str, attempt: int, vault: Vault, asked: str = "") -> None:
        self.entry = entry
        self.slave = slave
        self.attempt = attempt
        self.wish = Wish(entry.name, asked)
        of_builds = dict(zip(OF_BUILDS, ("1", entry.name, slave, slave), strict=True))
        self.properties: dict[str, str] = {**unpack(asked), **entry.properties, **of_builds}
        """Properties of the build; a listener that hears of the start may add some. They are not masked."""
        self._progress = Progress(entry.steps)
        self._results: dict[str, Result] = {}
        self._secrets: Mapping[str, str] = {}
        self._vault = vault
        self._unreadable = ""
        self._step: RunningStep | None = None
        self._cut: tuple[Result, str] | None = None
        self._started = False
        self._scope = trio.CancelScope()

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._cut is not None

    @property
    def started(self) -> bool:
        """Whether a slave has taken it."""
        return self._started

    @property
    def shown(self) -> dict[str, str]:
        """The properties, without secrets."""
        return {name: self._vault.mask_text(text) for name, text in self.properties.items()}

    def interrupt(self, result: Result, why: str) -> None:
        """End it early with `result`; `why` is for people."""
        self._cut = result, why
        if not self._started:
            self._scope.cancel()
        if self._step is not None:
            self._step.interrupt(why)

    async def carry_out(self, slave: AttachedSlave, tell: Listener) -> Result | None:
        """Run the steps; returns None if no slave took the build."""
        if not slave.is_idle(self.entry.name):
            # Since it was chosen, it has lost the builder, or wants to go.
            await tell(RunNotTaken(self, "it is not ready any more"))
            return None
        try:
            with self._scope:
                await self._read_secrets()
                with_words = worded(self.entry.env)
                plain = {name: value for name, value in self.entry.env.items() if name not in with_words}
                env = {} if self._unreadable else filled_env(plain, self._secrets)
                async with slave.build(self.entry.name, env) as build:
                    # An interruption may come when the slave has said yes and this task has not gone on yet. No
                    # listener knows of the run then, and within the cancelled scope none could be told.
                    if self._cut is None:
                        self._started = True
                        await tell(RunBegan(self))
                        await self._steps_of(build, tell)
        except BuildNotStarted as error:
            await tell(RunNotTaken(self, str(error)))
        if not self._started:
            return None
        return self._cut[0] if self._cut is not None else self._progress.result

    async def _read_secrets(self) -> None:
        if not self.entry.secrets:
            return

        def read() -> dict[str, str]:
            return {source.name: source.read() for source in self.entry.secrets}

        try:
            self._secrets = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
        except SecretUnreadable as error:
            self._unreadable = str(error)
        else:
            self._vault.add(self._secrets)

    async def _steps_of(self, build: Build, tell: Listener) -> None:
        places = [StepPlace(number, len(self.entry.steps), step) for number, step in enumerate(self.entry.steps, 1)]
        while (what := self._next_step(build)) is not None:
            while (place := places.pop(0)).what is not what:
                await self._skip(place, tell)
            condition = self._extras_of(place).run_if
            if condition is None or condition.holds(self.properties, self._results):
                await self._run_step(build, place, tell)
            else:
                await self._skip(place, tell)
        for place in places:
            await self._skip(place, tell)

    async def _skip(self, place: StepPlace, tell: Listener) -> None:
        self._results[place.what.title] = Result.SKIPPED
        await tell(RunStepEnded(self, place, None))

    def _extras_of(self, place: StepPlace) -> StepExtras:
        return self.entry.extras.get(place.number - 1, _NOTHING_BESIDES)

    def _next_step(self, build: Build) -> AnyStep | None:
        if self._cut is not None:
            self._progress.cancel(self._cut[0])
        elif build.lost is not None:
            self._progress.cancel(Result.RETRY)
        return self._progress.next_step()

    def _filled(self, what: AnyStep) -> AnyStep:
        """Return a step with the values of its words, and with the variables that tell of the build."""
        step = Filler(self.properties).step(what, worded(self.entry.env))
        return attrs.evolve(step, env={**variables(self.properties), **step.env}) if isinstance(step, Shell) else step

    async def _run_step(self, build: Build, place: StepPlace, tell: Listener) -> None:
        why, what = self._unreadable, place.what
        try:
            what = self._filled(what)
        except UnfilledWord as error:
            why = why or self._vault.mask_text(str(error))
        else:
            place = attrs.evolve(place, target=target_of(what))
        await tell(RunStepBegan(self, place))
        if why:
            outcome = Outcome(Result.EXCEPTION, None, why, {}, 0.0)
        else:
            outcome = await self._outcome_of(build, place, what, tell)
        self._progress.record(place.what, outcome.result)
        self._results[place.what.title] = outcome.result
        await tell(RunStepEnded(self, place, outcome))

    async def _outcome_of(self, build: Build, place: StepPlace, what: AnyStep, tell: Listener) -> Outcome:
        mask, findings = OutputMask(self._vault), Findings(self._extras_of(place))

        async def tell_output(pieces: Iterable[Output]) -> None:
            for piece in pieces:
                findings.hear(piece)
                await tell(RunOutput(self, place, piece))

        try:
            async with build.step(filled_step(what, self._secrets)) as step:
                self._step = step
                if self._cut is not None:
                    # Told while a listener took its time.
                    step.interrupt(self._cut[1])
                async for output in step:
                    await tell_output(mask.feed(output))
                outcome = step.outcome
        except SlaveLost as error:
            # Gone while a listener took its time.
            outcome = Outcome(Result.RETRY, None, str(error), {}, 0.0)
        finally:
            self._step = None
        await tell_output(mask.end())
        outcome = findings.judge(outcome)
        self.properties |= findings.properties
        return attrs.evolve(outcome, why=self._vault.mask_text(outcome.why))


class Builds:
    """Builds what is wanted as soon as a slave is free for it.

    Args:
        master: the master that has the slaves.
        listeners: are told of every event, one after the other.
        most: how many builds a slave may run at a time, by name; any number on those that are not in it.
        attempts: how often a build is tried whose slave is lost or does not take it; None for any number.
    """

    def __init__(
        self,
        master: Master,
        listeners: Sequence[Listener],
        most: Mapping[str, int | None],
        attempts: int | None = None,
    ) -> None:
        self._master = master
        self._listeners = listeners
        self._scheduler = Scheduler(most, attempts)
        self._entries: dict[str, BuilderEntry] = {}
        self._runs: dict[int, Run] = {}
        self._vault = Vault()
        self._changed = trio.Event()
        self._drain_ends: tuple[Result, str] | None = None

    @property
    def finals(self) -> Mapping[str, Result]:
        """The result of each builder that is not wanted any more."""
        return self._scheduler.finals

    @property
    def running(self) -> int:
        """The number of builds that slaves have taken."""
        return sum(run.started for run in self._runs.values())

    @property
    def waiting(self) -> Mapping[Wish, Sequence[str]]:
        """Builds that are wanted and do not run, with the slaves that they may run on."""
        return self._scheduler.waiting

    def wants(self, wish: Wish) -> bool:
        """Whether a build is wanted that does not run."""
        return self._scheduler.wants(wish)

    def want(self, entry: BuilderEntry, slaves: Iterable[str] | None = None, asked: str = "") -> None:
        """Build a builder once, however often the same is wanted.

        Args:
            entry: the builder.
            slaves: those that may build it; None for its own.
            asked: what is asked of the build, as `properties.pack` has it.
        """
        self._entries[entry.name] = entry
        self._scheduler.want(Wish(entry.name, asked), entry.slaves if slaves is None else slaves)
        self._wake()

    def resume(self, entry: BuilderEntry, asked: str, tries: int) -> None:
        """Build what was tried in vain so often before."""
        self._entries[entry.name] = entry
        self._scheduler.resume(Wish(entry.name, asked), entry.slaves, tries, trio.current_time())
        self._wake()

    def forget(self, wishes: Collection[Wish]) -> None:
        """Do not build these, unless they run already."""
        self._scheduler.forget(wishes)

    def revise(self, builders: Mapping[str, BuilderEntry], most: Mapping[str, int | None]) -> None:
        """Take another file: a further try is made as it says, or not at all if it has no such builder.

        Args:
            builders: all of the file, by name.
            most: how many builds a slave may run at a time.
        """
        self._entries |= builders
        self._scheduler.revise({name: entry.slaves for name, entry in builders.items()}, most)
        self._wake()

    def stop(self, result: Result, why: str) -> None:
        """Begin nothing any more, and end what runs with `result`."""
        self._scheduler.stop(result)
        for run in self._runs.values():
            run.interrupt(result, why)
        self._wake()

    def hold(self, held: bool) -> None:
        """Begin nothing for now, or begin things again."""
        self._scheduler.hold(held)
        self._wake()

    def drain(self, result: Result, why: str, seconds: float) -> None:
        """Begin nothing any more, let what runs end within some seconds, and then stop as with `stop`."""
        self._drain_ends = result, why
        self._scheduler.drain(trio.current_time() + seconds)
        for run in self._runs.values():
            if not run.started:
                run.interrupt(result, why)
        self._wake()

    async def run(self, *, until_idle: bool = False) -> None:
        """Work until it was stopped, or with `until_idle` until nothing is wanted, and nothing runs."""
        async with open_nursery() as nursery:
            nursery.start_soon(self._watch_slaves)
            while True:
                self._changed = trio.Event()
                if self._drain_ends is not None and self._scheduler.drained(trio.current_time()):
                    self.stop(*self._drain_ends)
                    self._drain_ends = None
                idle = {name: slave.idle_builders for name, slave in self._master.slaves.items()}
                for start in self._scheduler.start(idle, trio.current_time()):
                    run = self._runs[start.run] = Run(
                        self._entries[start.wish.builder], start.slave, start.attempt, self._vault, start.wish.asked
                    )
                    nursery.start_soon(self._carry_out, start, run, self._master.slaves[start.slave])
                nothing_left = until_idle and not self._scheduler.waiting
                if not self._runs and (self._scheduler.stopped or nothing_left):
                    nursery.cancel_scope.cancel()
                    return
                deadline = self._scheduler.deadline(trio.current_time())
                with trio.move_on_at(math.inf if deadline is None else deadline):
                    await self._changed.wait()

    async def _watch_slaves(self) -> None:
        while True:
            await self._master.wait_change()
            self._wake()

    def _wake(self) -> None:
        self._changed.set()

    async def _carry_out(self, start: RunStart, run: Run, slave: AttachedSlave) -> None:
        async def tell(event: RunEvent) -> None:
            for listener in self._listeners:
                await listener(event)
            if isinstance(event, RunBegan):
                self._scheduler.begun(start.run)
                self._wake()

        result = await run.carry_out(slave, tell)
        why = ""
        if self._scheduler.is_last(start.run, result):
            lost = "no slave took it" if result is None else "its slave was lost each time"
            why = f"given up after {start.attempt} {'try' if start.attempt == 1 else 'tries'}: {lost}"
        if result is not None:
            await tell(RunEnded(run, Result.EXCEPTION if why else result, why))
        elif why:
            await tell(RunGivenUp(run, why))
        del self._runs[start.run]
        self._scheduler.over(start.run, result, trio.current_time())
        self._wake()
