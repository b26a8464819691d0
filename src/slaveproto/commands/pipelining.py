"""Calls to an object of the master's, many at a time, with effects on files beside them."""

from __future__ import annotations

from collections import deque
from typing import Final, TypeVar, assert_never

import attrs

from slaveproto.effects import (
    Begin,
    BeginCall,
    CallDone,
    EffectDone,
    EffectOnFiles,
    Interrupted,
    NextEvent,
    ProcessClosed,
    ProcessExited,
    ProcessOutput,
    Script,
    TimerFired,
)
from slaveproto.limits import SIZE_LIMIT
from slaveproto.wire.values import Failure, Remote, Value

WINDOW: Final = 4 * 1024 * 1024
"""Bytes that may be under way: a fifth of a second at 20 MB/s."""

UPLOAD_WINDOW: Final = 32 * 1024 * 1024
"""The same for a file that is sent. It costs no memory: bytes are dropped once sent, a slow link delays the reading."""

MOST_CALLS: Final = 256
"""Calls that may be under way."""

T = TypeVar("T")


class PipelineStopped(Exception):
    """The transfer was interrupted."""


class MasterLost(PipelineStopped):
    """The master does not listen to the transfer any more."""


class BlockRefused(Exception):
    """A call failed on the master.

    Args:
        failure: how.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@attrs.define
class Pipeline:
    """The calls under way between a script and one object of the master's.

    Answers come in the order of the calls. Every method that waits raises `PipelineStopped` and `BlockRefused`.

    Args:
        target: the object.
        window: bytes that may be under way.
    """

    target: Remote
    window: int = WINDOW
    answers: deque[tuple[int, Value]] = attrs.field(factory=deque, init=False)
    """Answers that were not taken yet, each with the size that was given to its call."""
    pending_bytes: int = attrs.field(default=0, init=False)
    _methods: set[str] = attrs.field(factory=set, init=False)
    _pending: dict[int, int] = attrs.field(factory=dict, init=False)
    _done: dict[int, EffectDone] = attrs.field(factory=dict, init=False)

    @property
    def pending(self) -> int:
        """Calls that are not answered yet."""
        return len(self._pending)

    def has_room(self, size: int) -> bool:
        """Whether one more call of `size` bytes fits into the window."""
        return not self._pending or (self.pending_bytes + size <= self.window and len(self._pending) < MOST_CALLS)

    def begin(self, size: int, method: str, *args: Value) -> Script[None]:
        """Make a call that stands for `size` bytes."""
        number = yield from BeginCall(self.target, method, args)
        self._methods.add(method)
        self._pending[number] = size
        self.pending_bytes += size

    def call(self, method: str, *args: Value) -> Script[None]:
        """Make a call after all others are answered, and wait for its answer, too."""
        yield from self.drain()
        yield from self.begin(0, method, *args)
        yield from self.drain()

    def perform(self, effect: EffectOnFiles[T]) -> Script[T]:
        """Perform an effect on files while answers go on coming in; raises HostError, too."""
        number = yield from Begin(effect)
        while number not in self._done:
            yield from self.wait()
        done = self._done.pop(number)
        if done.error is not None:
            raise done.error
        reply: T = done.result
        return reply

    def drain(self) -> Script[None]:
        """Wait until every call is answered."""
        while self._pending:
            yield from self.wait()

    def give_up(self, last: str | None) -> Script[None]:
        """Wait for the answers to what is under way, whatever they are.

        Then make the call `last`, if there is one and it was not made yet, and wait for its answer, whatever that is.
        """
        lost = False
        while self._pending and not lost:
            try:
                yield from self.wait()
            except MasterLost:
                lost = True
            except (BlockRefused, PipelineStopped):
                continue
        if last is not None and last not in self._methods and not lost:
            yield from self.begin(0, last)
            yield from self.give_up(None)

    def wait(self) -> Script[None]:
        """Wait for anything to happen."""
        event = yield from NextEvent()
        match event:
            case CallDone(number, value, failure, lost):
                size = self._pending.pop(number)
                self.pending_bytes -= size
                if lost:
                    self._pending.clear()
                    raise MasterLost
                if failure is not None:
                    raise BlockRefused(failure)
                self.answers.append((size, value))
            case EffectDone(number):
                self._done[number] = event
            case Interrupted():
                raise PipelineStopped
            case ProcessOutput() | ProcessExited() | ProcessClosed() | TimerFired():
                # A transfer has neither processes nor timers.
                pass
            case _:
                assert_never(event)


@attrs.define
class BlockWriter:
    """Sender of bytes to the method `write` of a master's writer, in blocks, as many as the window takes.

    Args:
        pipeline: the calls to the writer.
        blocksize: bytes of a block.
        left: bytes that may still be sent; None for any number.
    """

    pipeline: Pipeline
    blocksize: int
    left: int | None
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)

    @property
    def full(self) -> bool:
        """Whether as much was sent as the master allows; whether there was more does not count."""
        return self.left == 0

    def feed(self, data: bytes, *, last: bool = False) -> Script[None]:
        """Send the whole blocks, with the `last` data everything; bytes beyond the limit are dropped."""
        self._buffer += data
        while not self.full and (len(self._buffer) >= self._block or (last and self._buffer)):
            block = bytes(self._buffer[: self._block])
            del self._buffer[: self._block]
            while not self.pipeline.has_room(len(block)):
                yield from self.pipeline.wait()
            yield from self.pipeline.begin(len(block), "write", block)
            if self.left is not None:
                self.left -= len(block)
        self.pipeline.answers.clear()

    @property
    def _block(self) -> int:
        size = min(self.blocksize, SIZE_LIMIT)
        return size if self.left is None else min(size, self.left)
