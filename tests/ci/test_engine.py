"""Which build runs where and when, and what becomes of it; with slaves that do as they are told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import pytest
import trio
import trio.testing

from slaveproto.ci.engine import PATIENCE_AFTER_REFUSAL, Engine, Run, StepPlace
from slaveproto.ci.file.build_file import BuilderEntry
from slaveproto.master.events import Outcome
from slaveproto.master.output import Output
from slaveproto.master.results import Result
from slaveproto.master.steps import LogFile, MakeDirectory, Shell
from transports.trio.master import BuildNotStarted, Master, SlaveLost

pytestmark = pytest.mark.trio


class FakeStep:
    """Runs until it is let go, interrupted or lost."""

    said: ClassVar[Sequence[Output]] = ()

    def __init__(self, build: FakeBuild, what: Shell | MakeDirectory) -> None:
        self.build = build
        self.what = what
        self.over = trio.Event()
        self.result = Result.SUCCESS
        self.pieces = list(self.said) or [Output("stdio", "stdout", what.title.encode())]

    @property
    def outcome(self) -> Outcome:
        assert self.over.is_set()
        return Outcome(self.result, 0, "", {}, 1.0)

    def end(self, result: Result) -> None:
        self.result = result
        self.over.set()

    def interrupt(self, why: str) -> None:
        self.end(Result.CANCELLED)

    def __aiter__(self) -> FakeStep:
        return self

    async def __anext__(self) -> Output:
        if self.pieces:
            return self.pieces.pop()
        await self.over.wait()
        raise StopAsyncIteration


class FakeBuild:
    def __init__(self, slave: FakeSlave) -> None:
        self.slave = slave
        self.lost: str | None = None

    @contextlib.asynccontextmanager
    async def step(self, what: Shell) -> AsyncIterator[FakeStep]:
        if self.lost is not None:
            raise SlaveLost(self.lost)
        step = FakeStep(self, what)
        self.slave.steps.append(step)
        plan = self.slave.master.plan.get(what.title)
        if plan is not None:
            step.end(plan)
        yield step


class FakeSlave:
    def __init__(self, master: FakeMaster, name: str) -> None:
        self.master = master
        self.name = name
        self.busy: set[str] = set()
        self.steps: list[FakeStep] = []
        self.refuses = 0
        self.starting: trio.Event | None = None
        self.current: list[FakeBuild] = []

    def is_idle(self, builder: str) -> bool:
        return builder not in self.busy

    @contextlib.asynccontextmanager
    async def build(self, builder: str, env: Mapping[str, str]) -> AsyncIterator[FakeBuild]:
        if self.starting is not None:
            await self.starting.wait()
        if self.refuses:
            self.refuses -= 1
            raise BuildNotStarted("no")
        self.busy.add(builder)
        build = FakeBuild(self)
        self.current.append(build)
        yield build
        self.current.remove(build)
        self.busy.discard(builder)
        self.master.notify()

    def lose(self) -> None:
        """It is gone, and comes back at once."""
        for build in self.current:
            build.lost = "gone"
        for step in self.steps:
            if not step.over.is_set():
                step.end(Result.RETRY)


class FakeMaster:
    def __init__(self, *names: str, plan: Mapping[str, Result] | None = None) -> None:
        self.plan = dict(plan or {})
        self.slaves = {name: FakeSlave(self, name) for name in names}
        self.changed = trio.Event()

    async def wait_change(self) -> None:
        await self.changed.wait()

    def notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class Notes:
    """A watcher that takes notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def build_started(self, run: Run) -> None:
        self.lines.append(f"{run.entry.name} on {run.slave}, attempt {run.attempt}")

    async def step_started(self, run: Run, step: StepPlace) -> None:
        self.lines.append(f"{step.number}/{step.total} {step.what.title}")

    async def output(self, run: Run, step: StepPlace, output: Output) -> None:
        self.lines.append(f"output {output.data.decode()}")

    async def step_ended(self, run: Run, step: StepPlace, outcome: Outcome | None) -> None:
        self.lines.append(f"{step.number} {outcome.result.word if outcome else 'skipped'}")

    async def build_ended(self, run: Run, result: Result) -> None:
        self.lines.append(f"{run.entry.name} {result.word}")

    async def refused(self, run: Run, why: str) -> None:
        self.lines.append(f"{run.entry.name} refused: {why}")


def entry(name: str, *slaves: str, steps: Sequence[Any] = ()) -> BuilderEntry:
    return BuilderEntry(name=name, slaves=slaves, builddir=name, steps=tuple(steps) or (step("work"),))


def step(name: str, **more: Any) -> Shell:
    return Shell(command="x", name=name, **more)


def engine_for(master: FakeMaster, notes: Notes | None = None, **more: Any) -> Engine:
    return Engine(cast("Master", master), notes or Notes(), more.pop("most", {}), **more)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(5):
        while not condition():
            await trio.sleep(0)


async def test_a_build() -> None:
    notes, master = Notes(), FakeMaster("s", plan={"a": Result.SUCCESS, "b": Result.WARNINGS})
    engine = engine_for(master, notes)
    engine.want(entry("x", "s", steps=[step("a"), step("b")]))
    await engine.run(until_idle=True)
    assert notes.lines == [
        "x on s, attempt 1", "1/2 a", "output a", "1 success", "2/2 b", "output b", "2 warnings", "x warnings"
    ]  # fmt: skip
    assert engine.finals == {"x": Result.WARNINGS}


async def test_logs_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    notes, master = Notes(), FakeMaster("s", plan={"a": Result.SUCCESS})
    pieces = [Output(log, "log", log.encode()) for log in ("forged", "mine", "stdio")]
    monkeypatch.setattr(FakeStep, "said", pieces)
    engine = engine_for(master, notes)
    engine.want(entry("x", "s", steps=[step("a", logfiles={"mine": LogFile("f")})]))
    await engine.run(until_idle=True)
    assert [line for line in notes.lines if line.startswith("output")] == ["output stdio", "output mine"]


async def test_steps_that_are_not_run() -> None:
    notes = Notes()
    master = FakeMaster("s", plan={"a": Result.FAILURE, "always": Result.SUCCESS})
    engine = engine_for(master, notes)
    steps = [step("a", halt_on_failure=True), step("b"), step("always", always_run=True), step("c"), step("c")]
    engine.want(entry("x", "s", steps=steps))
    await engine.run(until_idle=True)
    ends = [line for line in notes.lines if line[0].isdigit() and "/" not in line]
    assert ends == ["1 failure", "2 skipped", "3 success", "4 skipped", "5 skipped"]
    assert engine.finals == {"x": Result.FAILURE}


async def test_builders_run_side_by_side_as_far_as_slaves_allow() -> None:
    master = FakeMaster("one", "two")
    engine = engine_for(master, most={"one": 1, "two": None})
    for name, slaves in (("a", ["one"]), ("b", ["one"]), ("c", ["two"]), ("d", ["one", "two"]), ("e", ["gone"])):
        engine.want(entry(name, *slaves))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await until(lambda: len(engine.running) == 3 and all(slave.steps for slave in master.slaves.values()))
        assert {(run.entry.name, run.slave) for run in engine.running} == {("a", "one"), ("c", "two"), ("d", "two")}
        assert engine.waiting == {"b": ("one",), "e": ("gone",)}
        master.slaves["one"].steps[0].end(Result.SUCCESS)
        await until(lambda: ("b", "one") in {(run.entry.name, run.slave) for run in engine.running})
        master.slaves["gone"] = FakeSlave(master, "gone")
        master.notify()
        await until(lambda: not engine.waiting)
        nursery.cancel_scope.cancel()


async def test_a_builder_is_wanted_once() -> None:
    engine = engine_for(FakeMaster())
    engine.want(entry("a", "one"))
    engine.want(entry("a", "two"))
    assert engine.waiting == {"a": ("two",)}
    engine.want(entry("b", "one"), ["other"])
    engine.forget(["a"])
    assert engine.waiting == {"b": ("other",)}


async def test_what_is_wanted_again_waits_for_the_build_that_is_about_to_begin() -> None:
    """That one may still take it; another slave would build it for nobody."""
    notes, master = Notes(), FakeMaster("one", "two")
    starting = master.slaves["one"].starting = trio.Event()
    engine = engine_for(master, notes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        engine.want(entry("x", "one", "two"))
        await until(lambda: engine.running)
        engine.want(entry("x", "one", "two"))
        await trio.testing.wait_all_tasks_blocked()
        assert [run.slave for run in engine.running] == ["one"]
        starting.set()
        await until(lambda: len(engine.running) == 2)
        nursery.cancel_scope.cancel()
    assert notes.lines[0] == "x on one, attempt 1"


async def test_a_lost_slave_means_another_attempt() -> None:
    notes, master = Notes(), FakeMaster("s")
    engine = engine_for(master, notes, attempts=4)
    engine.want(entry("x", "s", steps=[step("a"), step("b", always_run=True)]))
    slave = master.slaves["s"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: engine.run(until_idle=True))
        for number in range(1, 5):
            with trio.fail_after(5):
                while len(slave.steps) < number:
                    await trio.sleep(0)
            slave.lose()
    assert [line for line in notes.lines if "attempt" in line] == [
        f"x on s, attempt {number}" for number in range(1, 5)
    ]
    assert notes.lines.count("2 skipped") == 4
    assert notes.lines.count("x retry") == 4
    assert engine.finals == {"x": Result.RETRY}


async def test_another_attempt_is_what_the_newest_file_says() -> None:
    notes, master = Notes(), FakeMaster("old", "new")
    engine = engine_for(master, notes)
    for name in ("changed", "removed"):
        engine.want(entry(name, "old"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await until(lambda: len(master.slaves["old"].steps) == 2)
        engine.revise({"changed": entry("changed", "new", steps=[step("other")])}, {"new": 1})
        master.slaves["old"].lose()
        await until(lambda: master.slaves["new"].steps)
        assert [step.what.title for step in master.slaves["new"].steps] == ["other"]
        assert [line for line in notes.lines if "attempt 2" in line] == ["changed on new, attempt 2"]
        assert not engine.waiting
        nursery.cancel_scope.cancel()


async def test_a_slave_that_is_lost_before_the_step() -> None:
    """While the watcher takes its time."""
    master = FakeMaster("s")

    class Slow(Notes):
        async def step_started(self, run: Run, step: StepPlace) -> None:
            master.slaves["s"].lose()

    notes = Slow()
    engine = engine_for(master, notes, attempts=1)
    engine.want(entry("x", "s"))
    await engine.run(until_idle=True)
    assert notes.lines == ["x on s, attempt 1", "1 retry", "x retry"]


async def test_a_slave_that_refuses_is_asked_again_later(autojump_clock: trio.testing.MockClock) -> None:
    notes, master = Notes(), FakeMaster("s", plan={"work": Result.SUCCESS})
    master.slaves["s"].refuses = 2
    engine = engine_for(master, notes)
    engine.want(entry("x", "s"))
    begun = trio.current_time()
    await engine.run(until_idle=True)
    assert trio.current_time() - begun == pytest.approx(2 * PATIENCE_AFTER_REFUSAL)
    assert notes.lines[:3] == ["x refused: no", "x refused: no", "x on s, attempt 3"]
    assert engine.finals == {"x": Result.SUCCESS}


async def test_a_slave_that_is_chosen_and_then_not_ready(autojump_clock: trio.testing.MockClock) -> None:
    notes, master = Notes(), FakeMaster("s", plan={"work": Result.SUCCESS})
    engine = engine_for(master, notes)
    engine.want(entry("x", "s"))
    answers = [False, True]
    slave = master.slaves["s"]
    slave.is_idle = lambda builder: answers.pop() if answers else builder not in slave.busy  # type: ignore[method-assign]
    await engine.run(until_idle=True)
    assert notes.lines[0] == "x refused: it is not ready any more"
    assert engine.finals == {"x": Result.SUCCESS}


async def test_a_slave_that_always_refuses(autojump_clock: trio.testing.MockClock) -> None:
    master = FakeMaster("s")
    master.slaves["s"].refuses = 99
    engine = engine_for(master, attempts=3)
    engine.want(entry("x", "s"))
    await engine.run(until_idle=True)
    assert engine.finals == {"x": Result.RETRY}
    assert master.slaves["s"].refuses == 96


@pytest.mark.parametrize("result", [Result.CANCELLED, Result.RETRY])
async def test_a_stop(result: Result) -> None:
    """What runs ends with the result, whatever its step says; what waits does, too; nothing else is run."""
    notes, master = Notes(), FakeMaster("s")
    engine = engine_for(master, notes)
    engine.want(entry("x", "s", steps=[step("a"), step("b", always_run=True)]))
    engine.want(entry("waits", "none"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await until(lambda: master.slaves["s"].steps)
        engine.stop(result, "enough")
    assert notes.lines[-3:] == ["1 cancelled", "2 skipped", f"x {result.word}"]
    assert engine.finals == {"x": result, "waits": result}


async def test_a_stop_between_two_steps() -> None:
    master = FakeMaster("s", plan={"a": Result.SUCCESS})

    class Stopping(Notes):
        async def step_started(self, run: Run, step: StepPlace) -> None:
            if step.number == 2:
                engine.stop(Result.CANCELLED, "enough")

    notes = Stopping()
    engine = engine_for(master, notes)
    engine.want(entry("x", "s", steps=[step("a"), step("b"), step("c")]))
    with trio.fail_after(5):
        await engine.run()
    assert [line for line in notes.lines if line[0].isdigit()] == ["1 success", "2 cancelled", "3 skipped"]
    assert engine.finals == {"x": Result.CANCELLED}


async def test_a_stop_while_the_slave_is_asked() -> None:
    notes, master = Notes(), FakeMaster("s")
    master.slaves["s"].starting = trio.Event()
    engine = engine_for(master, notes)
    engine.want(entry("x", "s"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await until(lambda: engine.running)
        engine.stop(Result.CANCELLED, "enough")
    assert notes.lines == []
    assert engine.finals == {"x": Result.CANCELLED}
