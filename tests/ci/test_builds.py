"""Builds under trio, with a real master and a real slave: the events of a run, in their order."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs
import pytest
import trio

from slaveproto.ci.builds import (
    Builds,
    RunBegan,
    RunEnded,
    RunEvent,
    RunGivenUp,
    RunNotTaken,
    RunOutput,
    RunStepBegan,
    RunStepEnded,
)
from slaveproto.ci.file.build_file import BuilderEntry
from slaveproto.ci.file.conditions import Condition, StepExtras
from slaveproto.ci.file.secrets import FromFile, NamedSecret, SecretSource
from slaveproto.master.config import MasterConfig, SlaveAccount
from slaveproto.master.events import BuildStarted, MasterEvent
from slaveproto.master.results import Result
from slaveproto.master.steps import AnyStep, DownloadString, Shell
from tests.transports.test_trio_master import run_own_slave
from transports.trio.master import Master, open_master

pytestmark = [pytest.mark.trio, pytest.mark.programs]

CONFIG = MasterConfig({"bot": SlaveAccount("bot", "secret", {"x": "x", "y": "y"})})


def entry(name: str, *steps: AnyStep) -> BuilderEntry:
    return BuilderEntry(name=name, slaves=("bot",), builddir=name, steps=steps)


def shell(name: str, command: str, *, halt: bool = False, always: bool = False) -> Shell:
    return Shell(name=name, command=command, log_environ=False, halt_on_failure=halt, always_run=always)


class Notes:
    """The events of builds as lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def handle(self, event: RunEvent) -> None:
        match event:
            case RunBegan(run):
                self.lines.append(f"{run.entry.name} on {run.slave}, attempt {run.attempt}")
            case RunStepBegan(_, step):
                self.lines.append(f"{step.number}/{step.total} {step.what.title}")
            case RunOutput(_, _, output):
                if output.stream == "stdout":
                    self.lines.append(f"output {output.data.decode().strip()}")
            case RunStepEnded(_, step, outcome):
                self.lines.append(f"{step.number} {outcome.result.word if outcome else 'skipped'}")
            case RunEnded(run, result):
                self.lines.append(f"{run.entry.name} {result.word}" + (f": {event.why}" if event.why else ""))
            case RunNotTaken(run, why):
                self.lines.append(f"{run.entry.name} not taken: {why}")
            case RunGivenUp(run, why):
                self.lines.append(f"{run.entry.name} {why}")


async def build(
    directory: Path,
    entries: Sequence[BuilderEntry],
    *listeners: Callable[[RunEvent], Awaitable[None]],
    during: Callable[[Master, Builds, trio.Nursery], Awaitable[None]] | None = None,
    attempts: int | None = 2,
) -> Builds:
    """Build all entries on one slave; `during` is what happens meanwhile."""
    with trio.fail_after(60):
        async with open_master(CONFIG) as master, trio.open_nursery() as nursery:
            await nursery.start(functools.partial(run_own_slave, name="bot"), master.port, directory)
            await master.wait_attached("bot")
            builds = Builds(master, listeners, {}, attempts)
            for one in entries:
                builds.want(one)
            if during is not None:
                nursery.start_soon(during, master, builds, nursery)
            await builds.run(until_idle=True)
            nursery.cancel_scope.cancel()
    return builds


async def test_a_build(tmp_path: Path) -> None:
    notes = Notes()
    builds = await build(tmp_path, [entry("x", shell("a", "echo one"), shell("b", "exit 3"))], notes.handle)
    assert notes.lines == [
        "x on bot, attempt 1", "1/2 a", "output one", "1 success", "2/2 b", "2 failure", "x failure"
    ]  # fmt: skip
    assert builds.finals == {"x": Result.FAILURE}


async def test_variables_of_a_build(tmp_path: Path) -> None:
    notes = Notes()

    async def set_them(event: RunEvent) -> None:
        if isinstance(event, RunBegan):
            event.run.properties |= {"branch": "a b", "two": "two", "an-other": "x"}

    command = 'echo "$SLAVEPROTO_BRANCH, $SLAVEPROTO_PROP_TWO, $SLAVEPROTO_PROP_AN_OTHER, $SLAVEPROTO_SLAVENAME"'
    own = attrs.evolve(shell("a", command), env={"SLAVEPROTO_PROP_TWO": "of the step"})
    await build(tmp_path, [entry("x", own)], set_them, notes.handle)
    assert "output a b, of the step, x, bot" in notes.lines


def conditions(*extras: StepExtras | None) -> dict[int, StepExtras]:
    return {place: one for place, one in enumerate(extras) if one is not None}


async def test_conditions_of_steps(tmp_path: Path) -> None:
    """What is skipped counts as skipped for those behind it, and as nothing for the build."""
    steps = [
        shell("set", "echo '  v w '; echo no >&2"), shell("bad", "false", halt=True),
        shell("skipped", "true", always=True), shell("on failure", "echo $SLAVEPROTO_PROP_K", always=True),
        shell("on skip", "echo '%(prop:k)s'", always=True), shell("cut off", "true"),
        shell("never", "true", always=True),
    ]  # fmt: skip
    extras = conditions(
        StepExtras(set_property="k"),
        None,
        StepExtras(run_if=Condition(property="k", among=("x",))),
        StepExtras(run_if=Condition(step="bad", results=(Result.FAILURE,), property="k")),
        StepExtras(run_if=Condition(step="skipped", results=(Result.SKIPPED,))),
        StepExtras(run_if=Condition(step="set")),
        StepExtras(run_if=Condition(step="bad")),
    )
    notes = Notes()
    builds = await build(tmp_path, [attrs.evolve(entry("x", *steps), extras=extras)], notes.handle)
    ends = [line for line in notes.lines if line[0].isdigit() and "/" not in line]
    assert ends == ["1 success", "2 failure", "3 skipped", "4 success", "5 success", "6 skipped", "7 skipped"]
    assert [line for line in notes.lines if line.startswith("output")] == ["output v w", "output v w", "output v w"]
    assert builds.finals == {"x": Result.FAILURE}


async def test_properties_that_commands_write(tmp_path: Path) -> None:
    """In pieces, masked, not of a failure, and not without end."""
    (tmp_path / "token").write_text("canary-1\n")
    steps = [
        shell("pieces", "printf 'a\\303'; sleep 0.3; printf '\\244\\n b canary'; sleep 0.3; echo -1"),
        shell("failure", "echo other; exit 1"), shell("empty", ":"), shell("long", "head -c 16385 /dev/zero"),
        shell("exactly", "head -c 16384 /dev/zero | tr '\\0' x"),
    ]  # fmt: skip
    extras = conditions(*(StepExtras(set_property=name) for name in ("one", "one", "two", "three", "four")))
    source = SecretSource("token", FromFile(f"{tmp_path}/token"))
    ends: list[RunStepEnded] = []

    async def hear(event: RunEvent) -> None:
        if isinstance(event, RunStepEnded):
            ends.append(event)

    await build(tmp_path, [attrs.evolve(entry("x", *steps), extras=extras, secrets=(source,))], hear)
    properties = ends[0].run.properties
    assert (properties["one"], properties["two"]) == ("aä\n b <token>", "")
    assert "three" not in properties, "it ends the build"
    assert ends[3].outcome is not None
    assert (ends[3].outcome.result, ends[3].outcome.why) == (
        Result.EXCEPTION, "wrote more than 16384 bytes, which is too much for the property three"
    )  # fmt: skip
    await build(
        tmp_path, [attrs.evolve(entry("x", steps[4]), extras=conditions(StepExtras(set_property="four")))], hear
    )
    assert ends[-1].run.properties["four"] == "x" * 16384


async def test_steps_that_are_not_run(tmp_path: Path) -> None:
    notes = Notes()
    steps = [
        shell("a", "false", halt=True), shell("b", "true"), shell("always", "true", always=True), shell("c", "true")
    ]  # fmt: skip
    builds = await build(tmp_path, [entry("x", *steps)], notes.handle)
    ends = [line for line in notes.lines if line[0].isdigit() and "/" not in line]
    assert ends == ["1 failure", "2 skipped", "3 success", "4 skipped"]
    assert builds.finals == {"x": Result.FAILURE}


async def test_no_event_holds_the_value_of_a_secret(tmp_path: Path) -> None:
    """Not the steps, nor what is written in pieces, nor the reason of a failure; a new value counts the next time."""
    (tmp_path / "token").write_text("canary-1\n")
    token = NamedSecret.of("token")
    steps = (
        Shell(command=("echo", token), env={"T": token}),
        shell("pieces", "printf can; sleep 0.3; printf 'ary-%s' 1; sleep 0.3; printf canar"),
        Shell(command=("cat",), initial_stdin=token),
        DownloadString(data=token, dest="canary-1/x/\0"),
    )
    one = attrs.evolve(entry("x", *steps), secrets=(SecretSource("token", FromFile(f"{tmp_path}/token")),))
    events: list[RunEvent] = []

    async def hear(event: RunEvent) -> None:
        events.append(event)

    await build(tmp_path, [one], hear)
    outputs = [event.output for event in events if isinstance(event, RunOutput)]
    assert b"".join(output.data for output in outputs if output.stream == "stdout") == b"<token>\n<token>canar<token>"
    outcomes = [event.outcome for event in events if isinstance(event, RunStepEnded) and event.outcome]
    assert [outcome.result for outcome in outcomes] == [Result.SUCCESS] * 3 + [Result.FAILURE]
    assert not any("canary-1" in outcome.why for outcome in outcomes)
    assert not any(b"canary-1" in output.data for output in outputs)
    (tmp_path / "token").write_text("canary-2\n")
    notes = Notes()
    await build(tmp_path, [attrs.evolve(one, steps=(steps[2],))], notes.handle)
    assert "output <token>" in notes.lines


async def test_a_secret_that_cannot_be_read_is_an_exception(tmp_path: Path) -> None:
    notes = Notes()
    whys = []

    async def hear(event: RunEvent) -> None:
        if isinstance(event, RunStepEnded) and event.outcome is not None:
            whys.append(event.outcome.why)

    source = SecretSource("token", FromFile(f"{tmp_path}/token"))
    one = attrs.evolve(entry("x", shell("a", "true"), shell("b", "true")), env={"T": NamedSecret.of("token")})
    await build(tmp_path, [attrs.evolve(one, secrets=(source,))], notes.handle, hear)
    assert notes.lines == ["x on bot, attempt 1", "1/2 a", "1 exception", "2 skipped", "x exception"]
    assert whys == [f"the secret token cannot be read: {tmp_path}/token: No such file or directory"]


async def test_every_listener_is_told_in_its_turn(tmp_path: Path) -> None:
    first, second = Notes(), Notes()
    await build(tmp_path, [entry("x", shell("a", "true")), entry("y", shell("a", "true"))], first.handle, second.handle)
    assert first.lines == second.lines
    assert {"x success", "y success"} <= set(first.lines)


async def test_a_lost_slave_means_another_attempt(tmp_path: Path) -> None:
    """It comes again by itself."""
    notes = Notes()

    async def lose_once(event: RunEvent) -> None:
        if isinstance(event, RunOutput) and event.run.attempt == 1 and event.output.stream == "stdout":
            losing.set()

    async def during(master: Master, builds: Builds, nursery: trio.Nursery) -> None:
        await losing.wait()
        master.slaves["bot"].disconnect("for a test")

    losing = trio.Event()
    step = shell("a", "if test -e there; then exit 0; fi; touch there; echo begun; sleep 60")
    builds = await build(tmp_path, [entry("x", step)], notes.handle, lose_once, during=during)
    assert builds.finals == {"x": Result.SUCCESS}
    assert [line for line in notes.lines if "attempt" in line] == ["x on bot, attempt 1", "x on bot, attempt 2"]
    assert notes.lines.count("x retry") == 1


async def test_a_slave_that_is_lost_before_the_step(tmp_path: Path) -> None:
    """While a listener takes its time."""
    notes = Notes()
    here: list[Master] = []

    async def during(master: Master, builds: Builds, nursery: trio.Nursery) -> None:
        here.append(master)

    async def slow(event: RunEvent) -> None:
        if isinstance(event, RunStepBegan):
            here[0].slaves["bot"].disconnect("for a test")

    builds = await build(tmp_path, [entry("x", shell("a", "true"))], slow, notes.handle, during=during, attempts=1)
    assert notes.lines == [
        "x on bot, attempt 1", "1/1 a", "1 retry",
        "x exception: given up after 1 try: its slave was lost each time",
    ]  # fmt: skip
    assert builds.finals == {"x": Result.EXCEPTION}


async def test_stop_ends_what_runs_and_what_waits(tmp_path: Path) -> None:
    notes = Notes()
    stopping = trio.Event()

    async def when_it_speaks(event: RunEvent) -> None:
        if isinstance(event, RunOutput) and event.output.stream == "stdout":
            stopping.set()

    async def during(master: Master, builds: Builds, nursery: trio.Nursery) -> None:
        await stopping.wait()
        builds.want(BuilderEntry(name="z", slaves=("gone",), builddir="z", steps=(shell("a", "true"),)))
        builds.stop(Result.CANCELLED, "for a test")

    builds = await build(
        tmp_path, [entry("x", shell("a", "echo begun; sleep 60"), shell("b", "true"))], notes.handle, when_it_speaks,
        during=during,
    )  # fmt: skip
    assert notes.lines[-3:] == ["1 cancelled", "2 skipped", "x cancelled"]
    assert builds.finals == {"x": Result.CANCELLED, "z": Result.CANCELLED}


async def test_stop_as_the_slave_takes_the_build(tmp_path: Path) -> None:
    """The slave has said yes and the run has not gone on: no listener hears of the end of what it did not see begin."""
    notes = Notes()
    stopping: list[Builds] = []

    def on_event(event: MasterEvent) -> None:
        if isinstance(event, BuildStarted):
            stopping[0].stop(Result.CANCELLED, "for a test")

    with trio.fail_after(60):
        async with open_master(CONFIG, on_event=on_event) as master, trio.open_nursery() as nursery:
            await nursery.start(functools.partial(run_own_slave, name="bot"), master.port, tmp_path)
            await master.wait_attached("bot")
            builds = Builds(master, [notes.handle], {})
            stopping.append(builds)
            builds.want(entry("x", shell("a", "true")))
            await builds.run()
            assert master.slaves["bot"].is_idle("x")
            nursery.cancel_scope.cancel()
    assert notes.lines == []
    assert builds.finals == {"x": Result.CANCELLED}
