"""Progress of builds: shown to people while they run, and collected for programs until the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, assert_never

import attrs

from slaveproto.ci.builds import (
    BuildListener,
    Run,
    RunBegan,
    RunEnded,
    RunEvent,
    RunGivenUp,
    RunNotTaken,
    RunOutput,
    RunStepBegan,
    RunStepEnded,
    StepPlace,
)
from slaveproto.ci.show.console import one_line
from slaveproto.ci.show.terminal import (
    BOLD,
    BUILDER_STYLES,
    DIM,
    GREEN,
    PLAIN,
    RED,
    YELLOW,
    LineSplitter,
    Terminal,
    clean,
)
from slaveproto.master.results import Result

if TYPE_CHECKING:
    from slaveproto.master.events import Outcome
    from slaveproto.master.output import Output

STYLES: Final = {
    Result.SUCCESS: GREEN,
    Result.WARNINGS: YELLOW,
    Result.FAILURE: RED,
    Result.SKIPPED: DIM,
    Result.EXCEPTION: RED,
    Result.RETRY: YELLOW,
    Result.CANCELLED: YELLOW,
}
HEADER_LINES: Final = 20
END_LINES: Final = (b"program finished with exit code", b"elapsedTime=")
END_OF_PREAMBLE: Final = b" using PTY:"
"""Beginning of the last line that every slave writes before it runs a command."""


def duration(seconds: float) -> str:
    """Return a length of time, for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


@attrs.define
class _Lane:
    """The present output of a builder that runs."""

    run: Run
    begun: float
    place: StepPlace | None = None
    step_begun: float = 0.0
    splitters: dict[tuple[str, str], LineSplitter] = attrs.field(factory=dict)
    remarks: list[bytes] = attrs.field(factory=list)
    preamble: bool = True


@attrs.define
class _Row:
    """A row of the table at the end."""

    slave: str = ""
    done: int = 0
    elapsed: float = 0.0


class Show(BuildListener):
    """Shows builds to people.

    Args:
        terminal: where.
        builders: names of all that will be built.
        clock: seconds, from any moment on.
    """

    def __init__(self, terminal: Terminal, builders: Sequence[str], clock: Callable[[], float]) -> None:
        self._terminal = terminal
        self._clock = clock
        self._lanes: dict[str, _Lane] = {}
        self._rows = {name: _Row() for name in builders}
        width = max(map(len, builders), default=0)
        self._prefixes = {
            name: terminal.paint(f"{name:{width}} | ", BUILDER_STYLES[number % len(BUILDER_STYLES)])
            for number, name in enumerate(builders)
        }

    def status(self) -> str:
        """Return what runs at the moment, in one line."""
        parts = []
        for name, lane in self._lanes.items():
            if lane.place is not None:
                elapsed = duration(int(self._clock() - lane.step_begun)).replace(".0", "")
                parts.append(f"{name} {_title(lane.place)} {elapsed}")
        return " · ".join(parts)

    async def _build_started(self, run: Run) -> None:
        name = run.entry.name
        self._lanes[name] = _Lane(run, self._clock())
        self._rows[name] = _Row(run.slave)
        again = f" (attempt {run.attempt})" if run.attempt > 1 else ""
        await self._say(name, f"building on slave {run.slave}{again}", BOLD)

    async def _step_started(self, run: Run, step: StepPlace) -> None:
        lane = self._lanes[run.entry.name]
        lane.place, lane.step_begun, lane.preamble = step, self._clock(), True
        lane.remarks.clear()
        await self._say(run.entry.name, _title(step), BOLD)

    async def _output(self, run: Run, step: StepPlace, output: Output) -> None:
        lane = self._lanes[run.entry.name]
        splitter = lane.splitters.setdefault((output.log, output.stream), LineSplitter())
        await self._lines(lane, output.log, output.stream, splitter.feed(output.data))

    async def _step_ended(self, run: Run, step: StepPlace, outcome: Outcome | None) -> None:
        name = run.entry.name
        lane = self._lanes[name]
        for (log, stream), splitter in lane.splitters.items():
            await self._lines(lane, log, stream, splitter.end())
        lane.splitters.clear()
        lane.place = None
        if outcome is None:
            await self._say(name, f"{_title(step)}: skipped", DIM)
            return
        self._rows[name].done += 1
        if outcome.result is not Result.SUCCESS:
            for remark in lane.remarks:
                await self._say(name, clean(remark, colours=False), DIM)
        about = [outcome.result.word]
        if outcome.why:
            about.append(clean(outcome.why.encode("utf-8", "backslashreplace"), colours=False))
        elif outcome.rc:
            about.append(f"exit code {outcome.rc}")
        words = f"{_title(step)}: {', '.join(about)}, {duration(outcome.elapsed)}"
        await self._say(name, words, STYLES[outcome.result])

    async def _build_ended(self, run: Run, result: Result, why: str) -> None:
        lane = self._lanes.pop(run.entry.name)
        row = self._rows[run.entry.name]
        row.elapsed = self._clock() - lane.begun
        words = f"{result.word}: {why}" if why else result.word
        await self._say(run.entry.name, f"{words}, {duration(row.elapsed)}", STYLES[result])

    async def _refused(self, run: Run, why: str) -> None:
        await self._say(run.entry.name, one_line(f"slave {run.slave} did not take it: {why}"), YELLOW)

    async def _given_up(self, run: Run, why: str) -> None:
        await self._say(run.entry.name, why, RED)

    async def summary(self, results: Mapping[str, Result]) -> None:
        """Show a table of how all ended."""
        steps = {name: f"{row.done} steps" if row.done != 1 else "1 step" for name, row in self._rows.items()}
        columns = [
            ["builder", *self._rows],
            ["slave", *(row.slave or "-" for row in self._rows.values())],
            ["result", *(results[name].word for name in self._rows)],
            ["run", *steps.values()],
            ["time", *(duration(row.elapsed) if row.slave else "-" for row in self._rows.values())],
        ]
        widths = [max(map(len, column)) for column in columns]
        await self._terminal.show("")
        for number, cells in enumerate(zip(*columns, strict=True)):
            style = BOLD if number == 0 else PLAIN
            padded = [self._terminal.paint(f"{cell:{width}}", style) for cell, width in zip(cells, widths, strict=True)]
            if number:
                padded[2] = self._terminal.paint(f"{cells[2]:{widths[2]}}", STYLES[results[cells[0]]])
            await self._terminal.show("  ".join(padded).rstrip())

    async def _lines(self, lane: _Lane, log: str, stream: str, lines: Sequence[bytes]) -> None:
        if stream == "header":
            for line in lines:
                self._remark(lane, line)
        elif lines:
            prefix = self._prefixes[lane.run.entry.name] + ("" if log == "stdio" else f"{log}: ")
            coloured = self._terminal.coloured
            await self._terminal.show(*(prefix + clean(line, colours=coloured) for line in lines))

    def _remark(self, lane: _Lane, line: bytes) -> None:
        """Keep what a slave says of a command, but for the long list at its beginning, and what is shown anyway."""
        if not lane.preamble and line.strip() and not line.startswith(END_LINES):
            lane.remarks.append(line)
            del lane.remarks[:-HEADER_LINES]
        elif line.startswith(END_OF_PREAMBLE):
            lane.preamble = False

    async def _say(self, builder: str, text: str, style: str = PLAIN) -> None:
        await self._terminal.show(f"{self._prefixes[builder]}{self._terminal.paint(text, style)}")


def _title(step: StepPlace) -> str:
    title = clean(step.what.title.encode("utf-8", "backslashreplace"), colours=False)
    return f"[{step.number}/{step.total}] {title}"


class Collect:
    """Keeps all that is told of builds, for `--json`. Of a builder that was built again, the last attempt."""

    def __init__(self) -> None:
        self._builds: dict[str, dict[str, Any]] = {}
        self._logs: dict[str, dict[str, list[bytes]]] = {}

    def as_object(self, results: Mapping[str, Result], steps: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Return what `--json` prints.

        Args:
            results: how each builder ended.
            steps: the titles of each builder's steps.
        """
        never: dict[str, dict[str, Any]] = {
            name: {
                "builder": name,
                "slave": None,
                "properties": {},
                "result": "",
                "steps": [_not_run(t) for t in titles],
            }
            for name, titles in steps.items()
        }
        return {"builds": [(never | self._builds)[name] | {"result": results[name].word} for name in steps]}

    async def handle(self, event: RunEvent) -> None:
        """Take an event of a build."""
        match event:
            case RunBegan(run):
                self._build_started(run)
            case RunStepBegan(run, step):
                self._step_started(run, step)
            case RunOutput(run, step, output):
                self._output(run, step, output)
            case RunStepEnded(run, step, outcome):
                self._step_ended(run, step, outcome)
            case RunEnded(run, result):
                self._build_ended(run, result)
            case RunNotTaken() | RunGivenUp():
                # Another attempt follows, or the builder has no result.
                pass
            case _:
                assert_never(event)

    def _build_started(self, run: Run) -> None:
        """A slave has taken the build."""
        name = run.entry.name
        self._builds[name] = {"builder": name, "slave": run.slave, "properties": {}, "result": "", "steps": []}

    def _step_started(self, run: Run, step: StepPlace) -> None:
        """A step begins."""
        self._logs[run.entry.name] = {"stdio": []}

    def _output(self, run: Run, step: StepPlace, output: Output) -> None:
        """A step has written something."""
        if output.stream != "header":
            self._logs[run.entry.name].setdefault(output.log, []).append(output.data)

    def _step_ended(self, run: Run, step: StepPlace, outcome: Outcome | None) -> None:
        """A step has ended."""
        if outcome is None:
            entry = _not_run(step.what.title)
        else:
            logs = {
                log: b"".join(pieces).decode("utf-8", "surrogateescape")
                for log, pieces in self._logs.pop(run.entry.name).items()
            }
            entry = {
                "name": step.what.title,
                "result": outcome.result.word,
                "rc": outcome.rc,
                "elapsed": round(outcome.elapsed, 3),
                "logs": logs,
            }
        self._builds[run.entry.name]["steps"].append(entry)

    def _build_ended(self, run: Run, result: Result) -> None:
        """All is over."""
        self._logs.pop(run.entry.name, None)
        self._builds[run.entry.name]["properties"] = run.shown


def _not_run(title: str) -> dict[str, Any]:
    return {"name": title, "result": Result.SKIPPED.word, "rc": None, "elapsed": 0.0, "logs": {"stdio": ""}}
