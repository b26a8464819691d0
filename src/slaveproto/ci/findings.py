"""Findings in what a command writes: a property, and lines that are warnings.

What is looked at is shown text, without secrets. A line counts by its first `LINE` characters: the time that some
patterns take grows fast with the text, and everything else waits for them. One of more than 64 KiB counts as several.
"""

from __future__ import annotations

from typing import Final

import attrs

from slaveproto.ci.file.conditions import StepExtras
from slaveproto.ci.properties import LONGEST
from slaveproto.ci.show.terminal import LineSplitter
from slaveproto.master.events import Outcome
from slaveproto.master.output import Output
from slaveproto.master.results import Result

LINE: Final = 1000


class Findings:
    """Findings of one step.

    Args:
        extras: what is looked for.
    """

    def __init__(self, extras: StepExtras) -> None:
        self._extras = extras
        self._stdout = b""
        self._splitters: dict[str, LineSplitter] = {}
        self._warnings = 0
        self.properties: dict[str, str] = {}
        """Properties that were found, once the outcome was judged."""

    def hear(self, output: Output) -> None:
        """Take in a piece of what the step writes, as it is shown."""
        if output.stream == "stdout" and self._extras.set_property is not None and len(self._stdout) <= LONGEST:
            self._stdout += output.data
        if output.stream in ("stdout", "stderr") and self._extras.warning_pattern is not None:
            splitter = self._splitters.setdefault(output.stream, LineSplitter())
            self._count(splitter.feed(output.data))

    def judge(self, outcome: Outcome) -> Outcome:
        """Return the outcome that the step has with what was found; a failure finds no property."""
        for splitter in self._splitters.values():
            self._count(splitter.end())
        if self._warnings and outcome.result in (Result.SUCCESS, Result.WARNINGS, Result.FAILURE):
            lines = f"{self._warnings} lines are warnings" if self._warnings > 1 else "1 line is a warning"
            result = Result.FAILURE if outcome.result is Result.FAILURE else Result.WARNINGS
            outcome = attrs.evolve(outcome, result=result, why=f"{outcome.why}; {lines}" if outcome.why else lines)
        name = self._extras.set_property
        if name is not None and outcome.result in (Result.SUCCESS, Result.WARNINGS):
            if len(self._stdout) > LONGEST:
                why = f"wrote more than {LONGEST} bytes, which is too much for the property {name}"
                return attrs.evolve(outcome, result=Result.EXCEPTION, why=why)
            self.properties[name] = self._stdout.decode("utf-8", "backslashreplace").strip()
        return outcome

    def _count(self, lines: list[bytes]) -> None:
        pattern = self._extras.warning_pattern
        assert pattern is not None, "only then lines are split"
        self._warnings += sum(pattern.search(line.decode("utf-8", "replace")[:LINE]) is not None for line in lines)
