"""Effects on files that may take long: they can be interrupted, have limits, and the master is told how they go."""

from __future__ import annotations

from typing import Final, TypeVar

from slaveproto.commands.context import CommandContext
from slaveproto.commands.headers import shown_seconds
from slaveproto.effects import (
    Begin,
    Cancel,
    CopyTree,
    EffectDone,
    EffectOnFiles,
    Interrupted,
    NextEvent,
    RemoveTree,
    Script,
    SendItem,
    SendText,
    SetTimer,
    TimerFired,
)
from slaveproto.errors import HostError
from slaveproto.updates import Dialect

T = TypeVar("T")

CANCEL_TIMEOUT: Final = 5.0
"""Seconds that an effect has to end after it was cancelled; then its end is not waited for."""


class EffectStopped(Exception):
    """An effect was given up, and the master knows why.

    Args:
        interrupted: whether the master asked for it; else it took too long.
    """

    def __init__(self, interrupted: bool) -> None:
        super().__init__()
        self.interrupted = interrupted


def remove_tree(
    path: str, silence: float | None, lifetime: float | None, context: CommandContext, *, tell: bool = True
) -> Script[int]:
    """Remove a directory with all that is in it; return 0, or 1 if something is left.

    Args:
        path: absolute.
        silence: seconds that it may take.
        lifetime: likewise.
        context: where the command runs.
        tell: whether the log says what is removed.

    Raises:
        EffectStopped: it was interrupted, or took too long.
    """
    if tell:
        yield from SendText("header", f"removing {path}\n")
    try:
        problems = yield from perform_cancellable(RemoveTree(path), silence, lifetime, context)
    except HostError as error:
        if error.is_shortage:
            raise
        return (yield from _complain("rmdir", (f"{path}: {error.strerror}",)))
    return (yield from _complain("rmdir", problems))


def copy_tree(source: str, target: str, lifetime: float | None, context: CommandContext) -> Script[int]:
    """Copy a directory as `cp -R -P -p` does; return 0, or 1 if something is missing; raises as `remove_tree`."""
    yield from SendText("header", f"copying {source} to {target}\n")
    # No silence limit: a copy writes nothing, so silence and work look the same.
    try:
        problems = yield from perform_cancellable(CopyTree(source, target), None, lifetime, context)
    except HostError as error:
        if error.is_shortage:
            raise
        return (yield from _complain("cpdir", (f"{target}: {error.strerror}",)))
    return (yield from _complain("cpdir", problems))


def _complain(name: str, problems: tuple[str, ...]) -> Script[int]:
    for problem in problems:
        yield from SendText("stderr", f"{name}: {problem}\n")
    return 1 if problems else 0


def perform_cancellable(
    effect: EffectOnFiles[T], silence: float | None, lifetime: float | None, context: CommandContext
) -> Script[T]:
    """Perform an effect that may take long; return its reply.

    Raises:
        HostError: it could not be performed.
        EffectStopped: it was interrupted, or took too long; the master was told so.
    """
    number = yield from Begin(effect)
    yield from SetTimer("silence", silence)
    yield from SetTimer("lifetime", lifetime)
    stopped: EffectStopped | None = None
    while True:
        event = yield from NextEvent()
        if isinstance(event, EffectDone) and event.number == number:
            break
        if stopped is not None and isinstance(event, TimerFired) and event.key == "cancelled":
            break
        if stopped is None and isinstance(event, (Interrupted, TimerFired)):
            stopped = EffectStopped(isinstance(event, Interrupted))
            yield from _stop(event, number, silence, lifetime, context)
        elif isinstance(event, Interrupted):
            # A command may go on after a limit, but not after this.
            stopped = EffectStopped(True)
    for timer in ("silence", "lifetime", "cancelled"):
        yield from SetTimer(timer, None)
    if stopped is not None:
        raise stopped
    assert isinstance(event, EffectDone)
    if event.error is not None:
        raise event.error
    reply: T = event.result
    return reply


def _stop(
    event: Interrupted | TimerFired, number: int, silence: float | None, lifetime: float | None, context: CommandContext
) -> Script[None]:
    reason, text = None, "command interrupted"
    if isinstance(event, TimerFired):
        silent = event.key == "silence"
        reason = "timeout_without_output" if silent else "timeout"
        limit = shown_seconds((silence if silent else lifetime) or 0, context.dialect)
        text = f"command timed out: {limit} seconds {'without output' if silent else 'elapsed'}"
    if reason is not None and context.dialect is Dialect.TEXT:
        yield from SendItem("failure_reason", reason)
    yield from SendText("header", f"\n{text}\n")
    yield from SetTimer("cancelled", CANCEL_TIMEOUT)
    yield from Cancel(number)
