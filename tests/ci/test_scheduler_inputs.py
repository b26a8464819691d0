"""Inputs of the scheduler in any order: limits that change, attempts, files read again, holds and a stop.

The random schedules of test_scheduler.py follow requests from end to end; here every input may come at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from slaveproto.ci.scheduler import PATIENCE, RunStart, Scheduler, Wish, pause
from slaveproto.master.results import Result

pytestmark = pytest.mark.campaigns

BUILDERS = ("b0", "b1", "b2")
SLAVES = ("s0", "s1", "s2")

builders = st.sampled_from(BUILDERS)
wishes = st.builds(Wish, builders, st.sampled_from(["", "r1"]))
some_slaves = st.lists(st.sampled_from(SLAVES), min_size=1, unique=True).map(tuple)
limits = st.fixed_dictionaries(dict.fromkeys(SLAVES, st.sampled_from([None, 1, 1, 2])))
everything_idle = st.just(dict.fromkeys(SLAVES, frozenset(BUILDERS)))
some_idle = st.dictionaries(st.sampled_from(SLAVES), st.frozensets(builders))


@attrs.frozen
class Due:
    """The earliest start of what waits, and the number of the attempt."""

    when: float
    attempt: int


class Inputs(RuleBasedStateMachine):
    """A scheduler, and what it may do by its rules."""

    @initialize(most=limits, attempts=st.sampled_from([None, 1, 2, 3]))
    def open(self, most: dict[str, int | None], attempts: int | None) -> None:
        self.scheduler = Scheduler(most, attempts)
        self.most: Mapping[str, int | None] = most
        self.attempts = attempts
        self.now = 0.0
        self.last = 0
        self.starting: dict[int, RunStart] = {}
        self.begun: dict[int, RunStart] = {}
        self.due: dict[Wish, Due] = {}
        self.file: Mapping[str, tuple[str, ...]] | None = None
        self.stopped: Result | None = None
        self.held = False
        self.drained: float | None = None

    @invariant()
    def runs_are_known(self) -> None:
        if hasattr(self, "scheduler"):
            assert {start.run for start in self.scheduler.running} == self.starting.keys() | self.begun.keys()

    @rule(wish=wishes, slaves=some_slaves)
    def want(self, wish: Wish, slaves: tuple[str, ...]) -> None:
        waited = set(self.scheduler.waiting)
        self.scheduler.want(wish, slaves)
        if wish not in waited:
            self.due[wish] = Due(self.now, 1)
        if self.stopped is None:
            assert list(self.scheduler.waiting.items())[-1] == (wish, slaves)
        else:
            assert not self.scheduler.waiting
            assert self.scheduler.finals[wish.builder] is self.stopped

    @precondition(lambda self: self.stopped is None)
    @rule(wish=wishes, slaves=some_slaves, tries=st.integers(1, 3))
    def resume(self, wish: Wish, slaves: tuple[str, ...], tries: int) -> None:
        self.scheduler.resume(wish, slaves, tries, self.now)
        self.due[wish] = Due(self.now + pause(Result.RETRY, tries), tries + 1)

    @rule(some=st.lists(wishes, unique=True))
    def forget(self, some: list[Wish]) -> None:
        self.scheduler.forget(some)
        assert not self.scheduler.waiting.keys() & set(some)

    @rule(file=st.dictionaries(builders, some_slaves), most=limits)
    def revise(self, file: dict[str, tuple[str, ...]], most: dict[str, int | None]) -> None:
        self.scheduler.revise(file, most)
        self.file, self.most = file, most

    @precondition(lambda self: self.stopped is None)
    @rule(result=st.sampled_from([Result.RETRY, Result.CANCELLED]))
    def stop(self, result: Result) -> None:
        waited = set(self.scheduler.waiting)
        self.scheduler.stop(result)
        self.stopped = result
        assert not self.scheduler.waiting
        assert {self.scheduler.finals[wish.builder] for wish in waited} <= {result}

    @rule(held=st.sampled_from([False, False, True]))
    def hold(self, held: bool) -> None:
        self.scheduler.hold(held)
        self.held = held

    @precondition(lambda self: self.drained is None)
    @rule(seconds=st.sampled_from([0.0, PATIENCE]))
    def drain(self, seconds: float) -> None:
        self.drained = self.now + seconds
        self.scheduler.drain(self.drained)

    @rule(seconds=st.sampled_from([1.0, PATIENCE / 2, PATIENCE]))
    def wait(self, seconds: float) -> None:
        times = [] if self.held else [self.due[wish].when for wish in self.scheduler.waiting]
        if self.drained is not None:
            times = [self.drained]
            assert self.scheduler.drained(self.now) == (not self.scheduler.running or self.drained <= self.now)
        assert self.scheduler.deadline(self.now) == min((when for when in times if when > self.now), default=None)
        self.now += seconds

    @rule(idle=everything_idle | some_idle)
    def start(self, idle: dict[str, frozenset[str]]) -> None:
        waited = dict(self.scheduler.waiting)
        starts = self.scheduler.start(idle, self.now)
        expected = []
        for wish, slaves in waited.items():
            slave = self.choose(wish, slaves, idle)
            if slave is not None:
                self.last += 1
                self.starting[self.last] = RunStart(self.last, wish, slave, self.due[wish].attempt)
                expected.append(self.starting[self.last])
        assert starts == expected
        assert list(self.scheduler.waiting) == [wish for wish in waited if wish not in {start.wish for start in starts}]

    def choose(self, wish: Wish, slaves: tuple[str, ...], idle: Mapping[str, Collection[str]]) -> str | None:
        """Return the slave that the rules give a wish."""
        if self.drained is not None:
            return None
        runs = [*self.starting.values(), *self.begun.values()]
        if self.held or self.now < self.due[wish].when or wish in [start.wish for start in self.starting.values()]:
            return None
        for slave in slaves:
            mine = [start.wish.builder for start in runs if start.slave == slave]
            most = self.most.get(slave)
            if wish.builder in idle.get(slave, ()) and wish.builder not in mine and (most is None or len(mine) < most):
                return slave
        return None

    @precondition(lambda self: self.starting)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.starting)))
        self.begun[run] = self.starting.pop(run)
        self.scheduler.begun(run)

    @precondition(lambda self: self.starting)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        self.end(self.starting.pop(data.draw(st.sampled_from(sorted(self.starting)))), None)

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), result=st.sampled_from([*Result, Result.RETRY, Result.RETRY]))
    def finish(self, data: st.DataObject, result: Result) -> None:
        self.end(self.begun.pop(data.draw(st.sampled_from(sorted(self.begun)))), result)

    def end(self, start: RunStart, result: Result | None) -> None:
        wish, builder, waited, finals = (
            start.wish,
            start.wish.builder,
            dict(self.scheduler.waiting),
            dict(self.scheduler.finals),
        )
        last = self.scheduler.is_last(start.run, result)
        self.scheduler.over(start.run, result, self.now)
        may_again = result in (None, Result.RETRY) and self.stopped is None
        if may_again and self.file is not None and builder not in self.file:
            # Gone from the file: it ends without a word.
            assert (self.scheduler.waiting, self.scheduler.finals, last) == (waited, finals, False)
        elif may_again and (self.attempts is None or start.attempt < self.attempts):
            assert self.scheduler.finals == finals
            assert list(self.scheduler.waiting) == list(waited | {wish: ()})
            self.due[wish] = Due(self.now + pause(result, start.attempt), start.attempt + 1)
            slaves = self.scheduler.waiting[wish]
            assert start.slave == slaves[-1] or start.slave not in slaves
            known = waited.get(wish) or (self.file[builder] if self.file is not None else slaves)
            assert sorted(slaves) == sorted(known)
        else:
            assert self.scheduler.waiting == waited
            assert last is may_again
            final = Result.EXCEPTION if last else result if result is not None else self.stopped or Result.RETRY
            assert self.scheduler.finals == finals | {builder: final}


TestInputs = Inputs.TestCase
TestInputs.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
