"""Files on their way between slave and master, as the slave calls them: writers and readers.

Rules.

* What comes in is written under a new name beside its place. It is put there, or unpacked, only when the command that
  brought it has ended well: until then it is not seen, and what is left of a failure is removed.
* Calls are carried out one at a time, in the order in which they came, so that a slave may have any number of them
  under way. A call is judged when it comes (`handle`), and carried out by the script of the transfer.
* After the first thing that goes wrong every call fails with its reason, and the transfer is broken.

Source: `steps/transfer.py` of Buildbot 0.8.4p1, `process/remotetransfer.py` of 4.3.0.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from slaveproto.effects import (
    CreateTemp,
    NextEvent,
    PlaceFile,
    ReadFile,
    Script,
    SetTimes,
    Unlink,
    UnpackTree,
    WriteFile,
)
from slaveproto.errors import CallFailed, HostError
from slaveproto.machine import Machine
from slaveproto.master.context import MasterContext
from slaveproto.master.happenings import TransferOver
from slaveproto.master.peer import Peer
from slaveproto.master.states import TRANSFER, TransferEvent, TransferState
from slaveproto.master.steps import LARGEST_BLOCK, UploadDirectory, UploadFile
from slaveproto.master.tasks import MasterTask
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import no_such_method, parameters
from slaveproto.wire.values import Failure, Local, Value


@attrs.frozen
class _Job:
    """A call of the slave that is to be carried out.

    Args:
        call: the connection's number of it.
        offset: of the block in the file.
        size: of the block; 0 for a call that only wants an answer.
        data: of the block, if it is to be written.
    """

    call: int
    offset: int
    size: int
    data: bytes = b""


@attrs.frozen
class _Settle:
    """The command is over."""


def _next_event() -> Script[object]:
    """Wait for the next job, or for the end."""
    event: object = yield from NextEvent()
    return event


class _Answers:
    """The way back to the slave, as long as it is there."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def answer(self, job: _Job, value: Value) -> None:
        if self._peer.connection.is_open:
            self._peer.touch()
            self._peer.connection.answer(job.call, value)

    def fail(self, job: _Job, why: str) -> None:
        if self._peer.connection.is_open:
            self._peer.touch()
            self._peer.connection.fail(job.call, Failure("builtins.OSError", why))


class Writer:
    """A file, or the archive of a directory, that comes in.

    Args:
        number: of the step.
        step: tells where it goes.
        peer: the slave's connection.
        context: the surroundings.
    """

    def __init__(self, number: int, step: UploadFile | UploadDirectory, peer: Peer, context: MasterContext) -> None:
        self.local = Local("writer")
        self._number = number
        self._step = step
        self._peer = peer
        self._context = context
        self._answers = _Answers(peer)
        self._machine = Machine(TRANSFER)
        self._size = 0
        self._most = step.max_size
        if self._most is None:
            self._most = context.config.upload_max_size or None
        self._times: tuple[float, float] | None = None
        self._problem = ""
        self._where = ""
        self._wanted = False
        self._left_out: tuple[str, ...] = ()
        self.heard = context.now
        """The time of the last call."""
        self._task = MasterTask(peer.number, self._serving())
        context.start(self._task)

    def handle(self, connection: Connection, call: Call) -> None:
        """Take a call of the slave.

        Raises:
            CallFailed: it cannot be carried out; nothing was answered.
            RemoteProtocolError: it is not possible any more.
        """
        data = b""
        match call.method:
            case "write":
                (block,) = parameters(call, "data")
                self._machine.fire(TransferEvent.BLOCK)
                if not isinstance(block, bytes):
                    # Without this block the file is not whole, whatever the slave thinks of that.
                    self._break("a block of it was no byte string")
                    raise CallFailed("builtins.TypeError", "write takes a byte string")
                data = block
                if self._most is not None and self._size + len(data) > self._most:
                    self._break(f"larger than {self._most} bytes")
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
                        raise CallFailed("builtins.TypeError", "utime takes a pair of numbers")
            case _:
                raise no_such_method(call)
        self.heard = self._context.now
        job = _Job(call.id, self._size, len(data), data)
        self._size += len(data)
        self._peer.unread.size += len(data)
        self._context.tell(self._task, job)

    def settle(self, *, wanted: bool) -> None:
        """Put the file in its place if it is whole and `wanted`, else remove what there is of it."""
        if self._machine.state is TransferState.OPEN:
            self._break("the slave did not bring it to its end")
        # The slave may be lost while its last calls are carried out: then it is not wanted any more.
        self._wanted = wanted
        self._context.tell(self._task, _Settle())

    @property
    def _broken(self) -> bool:
        return self._machine.state is TransferState.BROKEN

    def _break(self, why: str, *, ours: bool = False) -> None:
        self._machine.fire(TransferEvent.BREAK)
        if not self._problem:
            # The slave is not told our path.
            self._problem, self._where = why, f"{self._step.dest} on the master: " if ours else ""

    def _serving(self) -> Script[None]:
        temp: str | None = None
        settled = False
        while True:
            event = yield from _next_event()
            if isinstance(event, _Job):
                temp = yield from self._write(event, temp)
            elif isinstance(event, _Settle) and not settled:
                # Calls that come later are answered all the same.
                settled = True
                yield from self._settle(temp)

    def _write(self, job: _Job, temp: str | None) -> Script[str | None]:
        """Carry out a call of the slave; return the temporary file."""
        try:
            if job.size and not self._broken:
                if temp is None:
                    temp = yield from CreateTemp(self._beside)
                # Another block may have broken it meanwhile.
                if not self._broken:
                    yield from WriteFile(temp, job.offset, job.data)
        except HostError as error:
            self._break(error.strerror, ours=True)
        self._peer.unread.size -= job.size
        if self._broken:
            self._answers.fail(job, f"the master: {self._problem}" if self._where else self._problem)
        else:
            self._answers.answer(job, None)
        return temp

    def _settle(self, temp: str | None) -> Script[None]:
        """Put the file in its place or remove it, and report how that went."""
        if self._wanted and not self._broken:
            try:
                if temp is None:
                    temp = yield from CreateTemp(self._beside)
                if self._wanted:
                    temp = yield from self._place(temp)
            except HostError as error:
                self._break(error.strerror, ours=True)
        if temp is not None:
            self._context.have_done(Unlink(temp))
        problem, ours = self._where + self._problem, bool(self._where)
        self._context.report(TransferOver(self._number, problem, ours=ours, left_out=self._left_out))

    @property
    def _beside(self) -> str:
        """The path that the temporary file is named after: not the directory, which may be there already."""
        return self._step.dest if isinstance(self._step, UploadFile) else f"{self._step.dest}.archive"

    def _place(self, temp: str) -> Script[str | None]:
        """Put the file where it belongs; return what is still to be removed."""
        step = self._step
        if isinstance(step, UploadDirectory):
            unpack = UnpackTree(temp, step.compress, step.dest, step.unpack_limit, step.unpack_entries)
            self._left_out = yield from unpack
            # The archive goes in either case.
            return temp
        yield from PlaceFile(temp, step.dest, step.mode)
        if self._times is not None:
            try:
                yield from SetTimes(step.dest, *self._times)
            except HostError as error:
                # It is in its place all the same.
                self._break(error.strerror, ours=True)
        return None


class Reader:
    """A file, or a text, that a slave reads.

    Args:
        number: of the step.
        source: path of the file, or the bytes themselves.
        size: of the file, in bytes.
        peer: the slave's connection.
        context: the surroundings.
    """

    def __init__(self, number: int, source: str | bytes, size: int, peer: Peer, context: MasterContext) -> None:
        self.local = Local("reader")
        self._number = number
        self._source = source
        self._size = size
        self._context = context
        self._answers = _Answers(peer)
        self._offset = 0
        self._problem = ""
        self._owed: dict[int, _Job] = {}
        self.heard = context.now
        """The time of the last call."""
        self._task = MasterTask(peer.number, self._serving())
        context.start(self._task)

    def handle(self, connection: Connection, call: Call) -> None:
        """Take a call of the slave.

        Raises:
            CallFailed: it cannot be carried out; nothing was answered.
        """
        size = 0
        match call.method:
            case "read":
                (most,) = parameters(call, "maxlength")
                if not isinstance(most, int) or isinstance(most, bool) or most < 1:
                    raise CallFailed("builtins.ValueError", "read takes a number of bytes")
                size = min(most, LARGEST_BLOCK)
            case "close":
                parameters(call)
            case _:
                raise no_such_method(call)
        self.heard = self._context.now
        job = self._owed[call.id] = _Job(call.id, 0, size)
        self._context.tell(self._task, job)

    def settle(self, *, wanted: bool) -> None:
        """End: a file that was not read to its end did not arrive."""
        problem = self._problem
        if not problem and self._offset < self._size:
            problem = f"the slave read {self._offset} of {self._size} bytes"
        self._problem = problem or "the command is over"
        # The answers to calls that still wait are owed at once, the file is not.
        owed, self._owed = self._owed, {}
        for job in owed.values():
            self._answers.fail(job, self._problem)
        self._context.report(TransferOver(self._number, problem))

    def _serving(self) -> Script[None]:
        while True:
            event = yield from _next_event()
            if isinstance(event, _Job):
                yield from self._read(event)

    def _read(self, job: _Job) -> Script[None]:
        """Carry out a call of the slave, unless it was failed already."""
        data: bytes | None = None
        if job.size and not self._problem:
            if isinstance(self._source, bytes):
                data = self._source[self._offset : self._offset + job.size]
            else:
                try:
                    data = yield from ReadFile(self._source, self._offset, job.size)
                except HostError as error:
                    self._problem = self._problem or error.strerror
        if self._owed.pop(job.call, None) is None:
            return
        if self._problem:
            self._answers.fail(job, self._problem)
        else:
            self._answers.answer(job, data)
            self._offset += len(data) if data is not None else 0


Transfer: TypeAlias = Writer | Reader
"""The object that a slave gets to write to or to read from."""
