"""Files on their way between slave and master, as the slave calls them: writers and readers.

What comes in is written under a new name beside its place. It is put there, or unpacked, only when the command that
brought it has ended well: until then nobody sees it, and what is left of a failure is removed. Calls are carried out
one at a time, in the order in which they came, so that a slave may have any number of them under way.

Source: `steps/transfer.py` of Buildbot 0.8.4p1, `process/remotetransfer.py` of 4.3.0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

import attrs

from slaveproto.effects import (
    CreateTemp,
    FileEffect,
    PlaceFile,
    ReadFile,
    SetTimes,
    Unlink,
    UnpackTree,
    WriteFile,
)
from slaveproto.errors import CommandError, HostError
from slaveproto.machine import Machine
from slaveproto.master.context import MasterContext
from slaveproto.master.output import UnreadBytes
from slaveproto.master.states import TRANSFER, TransferEvent, TransferState
from slaveproto.master.steps import LARGEST_BLOCK, UploadDirectory, UploadFile
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import no_such_method, parameters
from slaveproto.wire.values import Failure, Local, Value

Settled: TypeAlias = Callable[[str, float], None]
"""Gets what went wrong with a transfer, in words; empty if nothing did."""


class TransferObject(Protocol):
    """What a slave gets to read from or to write to."""

    local: Local

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        """Carry out a call of the slave.

        Raises:
            CommandError: it cannot be carried out; nothing was answered.
            RemoteProtocolError: it is not possible any more.
        """

    def settle(self, wanted: bool, then: Settled, now: float) -> None:
        """The command is over; `wanted` tells whether it ended well."""


@attrs.frozen
class _Waiting:
    touch: Callable[[], None]
    connection: Connection
    call: Call
    offset: int
    size: int
    data: bytes = b""

    def answer(self, value: Value) -> None:
        if self.connection.is_open:
            self.touch()
            self.connection.answer(self.call.id, value)

    def fail(self, why: str) -> None:
        if self.connection.is_open:
            self.touch()
            self.connection.fail(self.call.id, Failure("builtins.OSError", why))


class Writer:
    """A file, or the archive of a directory, that comes in.

    Args:
        step: where it goes.
        realm: the surroundings.
        unread: counts what waits to be written.
        touch: says that the slave has been answered.
    """

    def __init__(
        self, step: UploadFile | UploadDirectory, realm: MasterContext, unread: UnreadBytes, touch: Callable[[], None]
    ) -> None:
        self.local = Local("writer")
        self._step = step
        self._realm = realm
        self._unread = unread
        self._touch = touch
        self._machine = Machine(TRANSFER)
        self._queue: deque[_Waiting] = deque()
        self._size = 0
        self._temp: str | None = None
        self._times: tuple[float, float] | None = None
        self._problem = ""
        self._busy = False
        self._wanted = False
        self._then: Settled | None = None

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        """Take a call; see `TransferObject`."""
        data = b""
        match call.method:
            case "write":
                (block,) = parameters(call, "data")
                self._machine.fire(TransferEvent.BLOCK)
                if not isinstance(block, bytes):
                    # Without this block the file is not whole, whatever the slave thinks of that.
                    self._break("a block of it was no byte string")
                    raise CommandError("builtins.TypeError", "write takes a byte string")
                data = block
                if self._step.max_size is not None and self._size + len(data) > self._step.max_size:
                    self._break(f"larger than {self._step.max_size} bytes")
            case "close" | "unpack":
                parameters(call)
                self._machine.fire(TransferEvent.CLOSE)
            case "utime":
                (times,) = parameters(call, "accessed_modified")
                self._machine.fire(TransferEvent.STAMP)
                match times:
                    # A tuple or a list.
                    case [int() | float() as accessed, int() | float() as modified]:
                        self._times = (float(accessed), float(modified))
                    case _:
                        raise CommandError("builtins.TypeError", "utime takes a pair of numbers")
            case _:
                raise no_such_method(call)
        self._queue.append(_Waiting(self._touch, connection, call, self._size, len(data), data))
        self._size += len(data)
        self._unread.size += len(data)
        self._advance(now)

    def settle(self, wanted: bool, then: Settled, now: float) -> None:
        """Put the file in its place if it is whole and `wanted`, else remove what there is of it."""
        self._wanted = wanted
        self._then = then
        if self._machine.state is TransferState.OPEN:
            self._break("the slave did not bring it to its end")
        self._advance(now)

    def _break(self, why: str) -> None:
        self._machine.fire(TransferEvent.BREAK)
        self._problem = self._problem or why

    def _ask(self, effect: FileEffect, then: Callable[[object, float], None]) -> None:
        def go_on(result: object, now: float) -> None:
            self._busy = False
            if isinstance(result, HostError):
                self._break(result.strerror)
            else:
                then(result, now)
            self._advance(now)

        self._busy = True
        self._realm.ask(effect, go_on)

    def _advance(self, now: float) -> None:
        while not self._busy and self._queue:
            waiting = self._queue[0]
            if self._machine.state is TransferState.BROKEN:
                self._next().fail(self._problem)
            elif not waiting.size:
                self._next().answer(None)
            elif self._temp is None:
                self._ask(CreateTemp(self._beside), self._created)
            else:
                self._ask(WriteFile(self._temp, waiting.offset, waiting.data), lambda *_: self._next().answer(None))
        if not self._busy and self._then is not None:
            self._finish(self._then, now)

    @property
    def _beside(self) -> str:
        """What the temporary file is named after: not the directory, which may be there already."""
        return self._step.dest if isinstance(self._step, UploadFile) else f"{self._step.dest}.archive"

    def _next(self) -> _Waiting:
        waiting = self._queue.popleft()
        self._unread.size -= waiting.size
        return waiting

    def _created(self, path: object, now: float) -> None:
        self._temp = str(path)

    def _finish(self, then: Settled, now: float) -> None:
        if not self._wanted or self._machine.state is TransferState.BROKEN:
            if self._temp is not None:
                self._realm.ask(Unlink(self._temp), None)
            self._then = None
            then(self._problem, now)
        elif self._temp is None:
            self._ask(CreateTemp(self._beside), self._created)
        else:
            self._place(self._temp, self._step)

    def _place(self, temp: str, step: UploadFile | UploadDirectory) -> None:
        if isinstance(step, UploadFile):
            self._ask(PlaceFile(temp, step.dest, step.mode), lambda *_: self._placed())
        else:
            effect = UnpackTree(temp, step.compress, step.dest, step.unpack_limit, step.unpack_entries)
            # The archive goes in either case.
            self._ask(effect, lambda *_: self._unwant())

    def _placed(self) -> None:
        self._temp = None
        if self._times is not None:
            self._ask(SetTimes(self._step.dest, *self._times), lambda *_: self._unwant())
        else:
            self._unwant()

    def _unwant(self) -> None:
        self._wanted = False


class Reader:
    """A file, or a text, that a slave reads.

    Args:
        source: path of the file, or the bytes themselves.
        size: of the file, in bytes.
        realm: the surroundings.
        touch: says that the slave has been answered.
    """

    def __init__(self, source: str | bytes, size: int, realm: MasterContext, touch: Callable[[], None]) -> None:
        self.local = Local("reader")
        self._source = source
        self._size = size
        self._realm = realm
        self._touch = touch
        self._queue: deque[_Waiting] = deque()
        self._offset = 0
        self._busy = False
        self._problem = ""

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        """Take a call; see `TransferObject`."""
        size = 0
        match call.method:
            case "read":
                (most,) = parameters(call, "maxlength")
                if not isinstance(most, int) or isinstance(most, bool) or most < 1:
                    raise CommandError("builtins.ValueError", "read takes a number of bytes")
                size = min(most, LARGEST_BLOCK)
            case "close":
                parameters(call)
            case _:
                raise no_such_method(call)
        self._queue.append(_Waiting(self._touch, connection, call, 0, size))
        self._advance(now)

    def settle(self, wanted: bool, then: Settled, now: float) -> None:
        """A file that was not read to its end did not arrive."""
        if not self._problem and self._offset < self._size:
            self._problem = f"the slave read {self._offset} of {self._size} bytes"
        problem, self._problem = self._problem, self._problem or "the command is over"
        # Whatever it still waits for: the answers are owed, the file is not.
        while self._queue:
            self._queue.popleft().fail(self._problem)
        then(problem, now)

    def _advance(self, now: float) -> None:
        while self._queue and not self._busy:
            waiting = self._queue[0]
            if self._problem:
                self._queue.popleft().fail(self._problem)
            elif not waiting.size:
                self._queue.popleft().answer(None)
            elif isinstance(self._source, bytes):
                self._answer(self._source[self._offset : self._offset + waiting.size])
            else:
                self._busy = True
                self._realm.ask(ReadFile(self._source, self._offset, waiting.size), self._read)

    def _read(self, result: object, now: float) -> None:
        self._busy = False
        if isinstance(result, HostError):
            self._problem = result.strerror
        elif isinstance(result, bytes) and not self._problem:
            self._answer(result)
        self._advance(now)

    def _answer(self, data: bytes) -> None:
        self._queue.popleft().answer(data)
        self._offset += len(data)
