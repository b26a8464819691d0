"""Playbooks: the words of a script, step by step, with a clock that stands still."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import attrs

from slaveproto.effects import (
    Begin,
    BeginCall,
    Heard,
    HostEffect,
    Script,
    ScriptEvent,
    SendItem,
    SendText,
)
from slaveproto.errors import HostError
from slaveproto.scripts import Answers, Task, TaskPool
from slaveproto.wire.values import Value


@attrs.frozen
class Ended:
    """The end of a script: without a failure, or with one.

    Args:
        kind: dotted name of the failure's class; None for an orderly end.
        message: its text; in a playbook, None for any.
    """

    kind: str | None = None
    message: str | None = None


Said: TypeAlias = HostEffect | Begin | BeginCall | SendText | SendItem | Ended


class ScriptRun:
    """One script, driven by hand, with a clock that stands still until `pass_time`.

    Args:
        script: the generator; it runs to its first wait at once.
        now: the time of its start.
    """

    def __init__(self, script: Script[Any], now: float = 0.0) -> None:
        self.now = now
        self.said: list[Said] = []
        """All that it said so far, in order."""
        self.waits_for: HostEffect | None = None
        """The effect that it waits for."""
        self._pool = TaskPool()
        self._request = 0
        self._task = _RecordedTask(script, self.said)
        self._pool.start(self._task, now)
        self._take_note()

    @property
    def begun(self) -> dict[int, Begin | BeginCall]:
        """The effects and calls that it began so far, by their numbers, which count from 1."""
        return self._task.begun

    @property
    def done(self) -> bool:
        """Whether it is at its end."""
        return self._task.done

    @property
    def deadline(self) -> float | None:
        """The time at which its earliest timer is due; None while it does not wait for one."""
        return self._task.deadline

    def reply(self, value: object) -> None:
        """Perform the effect that it waits for."""
        self._pool.complete(self._awaited(), value, self.now)
        self._take_note()

    def reject(self, error: HostError) -> None:
        """Let the effect that it waits for fail."""
        self._pool.reject(self._awaited(), error, self.now)
        self._take_note()

    def tell(self, event: ScriptEvent) -> None:
        """Let something happen; the script takes it when it next asks."""
        self._pool.tell(self._task, event, self.now)
        self._take_note()

    def leave_output_unread(self, unread: bool) -> None:
        """Let the runner stop reading the children's output, or go on."""
        self._pool.output_unread = unread

    def pass_time(self, seconds: float) -> None:
        """Let time pass; what is due on the way happens in its order and at its time."""
        end = self.now + seconds
        while (due := self._pool.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self._pool.look(self.now)
            self._take_note()
        self.now = end

    def _awaited(self) -> int:
        assert self.waits_for is not None, "the script waits for no reply"
        self.waits_for = None
        return self._request

    def _take_note(self) -> None:
        if self._task.done:
            if not (self.said and isinstance(self.said[-1], Ended)):
                failure = self._task.failure
                self.said.append(Ended() if failure is None else Ended(failure.kind, failure.message))
            return
        for request in self._pool.take_requests(congested=False):
            self._request = request.id
            self.waits_for = request.effect
            self.said.append(request.effect)


class _RecordedTask(Task):
    """A script whose effects are recorded as it said them; what it begins is not performed."""

    def __init__(self, script: Script[Any], said: list[Said]) -> None:
        super().__init__(script)
        self.begun: dict[int, Begin | BeginCall] = {}
        self._said = said

    def _record(self, effect: SendText | SendItem, now: float) -> None:
        self._said.append(effect)

    def _begin(self, effect: Begin | BeginCall, now: float) -> int:
        self._said.append(effect)
        number = len(self.begun) + 1
        self.begun[number] = effect
        return number

    def _is_heard(self, effect: Heard, now: float) -> bool:
        return True

    answers: ClassVar[Answers] = {
        **Task.answers,
        SendText: _record,
        SendItem: _record,
        Begin: _begin,
        BeginCall: _begin,
        Heard: _is_heard,
    }


# -- the steps


@attrs.frozen
class _Expects:
    what: Said

    def line(self) -> str:
        return f"script: {self.what!r}"


@attrs.frozen
class _Does:
    what: str
    action: Callable[[ScriptRun], None]

    def line(self) -> str:
        return f"  test: {self.what}"


PlayStep: TypeAlias = _Expects | _Does


def wants(effect: HostEffect | Begin | BeginCall) -> PlayStep:
    """The script asks for an effect of the outer ring, or begins one, or a call.

    The first of those that it begins has the number 1, the next one 2.
    """
    return _Expects(effect)


def sends_text(stream: str, text: bytes | str, log: bytes | str = "") -> PlayStep:
    """The script adds text to a stream, or to the log of that name."""
    return _Expects(SendText(stream, text, log))


def sends(key: str, value: Value) -> PlayStep:
    """The script sends an update that is no text."""
    return _Expects(SendItem(key, value))


def ends() -> PlayStep:
    """The script ends without a failure."""
    return _Expects(Ended())


def ends_with(kind: str, message: str | None = None) -> PlayStep:
    """The script ends with a failure of the class `kind`; its text counts if given."""
    return _Expects(Ended(kind, message))


def replies(value: object) -> PlayStep:
    """The effect that the script waits for is performed."""
    return _Does(f"replies {value!r}", lambda run: run.reply(value))


def fails(error: HostError) -> PlayStep:
    """The effect that the script waits for fails."""
    return _Does(f"fails with {error.errno} {error.strerror!r}", lambda run: run.reject(error))


def tells(event: ScriptEvent) -> PlayStep:
    """An event happens that the script may wait for."""
    return _Does(f"tells {event!r}", lambda run: run.tell(event))


def after(seconds: float) -> PlayStep:
    """Time passes."""
    return _Does(f"after {seconds:g} s", lambda run: run.pass_time(seconds))


def output_unread(unread: bool) -> PlayStep:
    """The runner stops reading the children's output, or goes on."""
    return _Does(f"output unread: {unread}", lambda run: run.leave_output_unread(unread))


def play(script: Script[Any], *steps: PlayStep, now: float = 0.0) -> ScriptRun:
    """Run a script against a playbook, and return the run for a closer look.

    Raises:
        AssertionError: the script said something else, or more, or less; the text shows the difference.
    """
    run = ScriptRun(script, now)
    lines: list[str] = []
    heard = 0
    for number, step in enumerate(steps):
        if isinstance(step, _Expects):
            if heard == len(run.said) or not _matches(step.what, run.said[heard]):
                _differ(lines, steps[number:], run.said[heard:])
            heard += 1
        else:
            if heard < len(run.said):
                _differ(lines, steps[number:], run.said[heard:])
            step.action(run)
        lines.append(step.line())
    if heard < len(run.said):
        _differ(lines, (), run.said[heard:])
    return run


def _matches(expected: Said, actual: Said) -> bool:
    if isinstance(expected, Ended) and isinstance(actual, Ended) and expected.message is None:
        return expected.kind == actual.kind
    return expected == actual


def _differ(before: list[str], expected: Sequence[PlayStep], actual: Sequence[Said]) -> None:
    """Show both conversations up to the next thing that the test would do."""
    turn = []
    for step in expected:
        if isinstance(step, _Does):
            break
        turn.append(step.line())
    difference = difflib.ndiff(before + turn, before + [_Expects(said).line() for said in actual])
    raise AssertionError("the script does not follow the playbook\n" + "\n".join(difference))
