"""Results of steps and builds, and what the end of a step means for its build.

Source: `status/results.py` of Buildbot 0.8.4p1 and `process/results.py` of 4.3.0.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from slaveproto.master.steps import AnyStep, Step


class Result(Enum):
    """The result of a step or a build; the values are the field's numbers."""

    SUCCESS = 0
    WARNINGS = 1
    FAILURE = 2
    SKIPPED = 3
    EXCEPTION = 4
    RETRY = 5
    CANCELLED = 6

    @property
    def word(self) -> str:
        """The name in lower case."""
        return self.name.lower()


_BEST_FIRST: Final = (
    Result.SKIPPED,
    Result.SUCCESS,
    Result.WARNINGS,
    Result.FAILURE,
    Result.EXCEPTION,
    Result.RETRY,
    Result.CANCELLED,
)

ENDING: Final = frozenset({Result.EXCEPTION, Result.RETRY, Result.CANCELLED})
"""Results of a step that end its build, whatever the step's flags say."""


def worse(one: Result, other: Result) -> Result:
    """Return the worse of two results. A step that was skipped is no worse than one that went well."""
    return max(one, other, key=_BEST_FIRST.index)


class Progress:
    """The progress of one build: which step comes next, and how the build stands. It knows no slave.

    Args:
        steps: of the build, in their order.
    """

    def __init__(self, steps: tuple[AnyStep, ...]) -> None:
        self._steps = steps
        self._next = 0
        self.halted = False
        """Whether a step has ended the build; only steps that always run are run from then on."""
        self.result = Result.SUCCESS
        """The result of the build, by the steps so far."""

    def next_step(self) -> AnyStep | None:
        """Return the step to run now, None at the end."""
        while self._next < len(self._steps):
            step = self._steps[self._next]
            self._next += 1
            if not self.halted or step.always_run:
                return step
        return None

    def skipped(self) -> tuple[AnyStep, ...]:
        """Return the steps that will not be run because the build is halted, as of now."""
        return tuple(step for step in self._steps[self._next :] if self.halted and not step.always_run)

    def record(self, step: Step, result: Result) -> None:
        """Take in how a step ended."""
        counts = result
        if result is Result.FAILURE:
            self.halted |= step.halt_on_failure
            if not step.flunk_on_failure:
                counts = Result.WARNINGS if step.warn_on_failure else Result.SUCCESS
        elif result is Result.WARNINGS:
            if step.flunk_on_warnings:
                counts = Result.FAILURE
            elif not step.warn_on_warnings:
                counts = Result.SUCCESS
        elif result in ENDING:
            self.halted = True
        self.result = worse(self.result, counts)

    def cancel(self, result: Result) -> None:
        """The build ends early with `result`: no step is run any more, not even those that always are."""
        self._steps = self._steps[: self._next]
        self.halted = True
        self.result = worse(self.result, result)
