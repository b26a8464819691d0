"""Commands that carry files between master and slave, with many blocks under way at a time.

Rules. A file that arrives here has a temporary name until it is complete. An upload of a file ends with `close` even if
the file is not complete, as with real slaves: otherwise masters of 0.8 leave their temporary file behind, or delete the
file that it was to replace. A directory that is not complete is never unpacked.

Source: manual page, section "Transfers"; `commands/transfer.py` of buildslave 0.8.4 and buildbot-worker 4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from slaveproto.commands.archive import TreeArchive, compressor, is_directory, is_regular
from slaveproto.commands.arguments import at_home, count, either, remote
from slaveproto.commands.context import CommandContext
from slaveproto.commands.pipelining import (
    MOST_CALLS,
    UPLOAD_WINDOW,
    BlockRefused,
    BlockWriter,
    MasterLost,
    Pipeline,
    PipelineStopped,
)
from slaveproto.effects import (
    CreateTemp,
    PathInfo,
    PlaceFile,
    ReadFile,
    ScanDir,
    Script,
    SendItem,
    SendText,
    StatPath,
    Unlink,
    WriteFile,
)
from slaveproto.errors import CommandError, HostError
from slaveproto.limits import SIZE_LIMIT
from slaveproto.records import record
from slaveproto.updates import LEFT_OUT, Dialect
from slaveproto.wire.values import Remote, Value

CHUNK: Final = 256 * 1024
"""Bytes that are read from or written to a file at a time."""

FIRST_CALLS: Final = 16
"""Blocks that are asked for before the first one came; each block that comes allows one more."""

Arguments = Mapping[str, Value]


class _Problem(Exception):
    """The transfer cannot go on; the text is for the log."""


@record
class _Transfer:
    """The arguments that all transfers have.

    Args:
        context: the surroundings of the command.
        path: the file or directory here.
        shown: its path in the words of real slaves.
        peer: the master's reader or writer.
        blocksize: bytes of a block.
        maxsize: most bytes; None for any number.
    """

    context: CommandContext
    path: str
    shown: str
    peer: Remote
    blocksize: int
    maxsize: int | None

    def line(self, text: str) -> str:
        """Return a line of a log; slaves of the 0.8 generation did not end it."""
        return text if self.context.dialect is Dialect.BYTES else text + "\n"

    @property
    def truncated(self) -> str:
        return f"Maximum filesize reached, truncating file '{self.shown}'"


def _transfer(arguments: Arguments, context: CommandContext, peer: str, *names: str) -> _Transfer:
    workdir = context.text("workdir", arguments["workdir"])
    name = at_home(context.text("a path", either(arguments, *names)), context)
    blocksize = count("blocksize", arguments["blocksize"])
    if not blocksize:
        raise CommandError("builtins.ValueError", "blocksize should be a whole number above 0")
    return _Transfer(
        context,
        context.path(workdir, name),
        context.joined(workdir, name),
        remote(peer, arguments[peer]),
        min(blocksize, SIZE_LIMIT),
        count("maxsize", arguments.get("maxsize")),
    )


def _problem(error: HostError, text: str) -> Exception:
    """Return what an error leads to: a shortage of the host is no failure of the step."""
    return error if error.is_shortage else _Problem(text)


def _guarded(
    transfer: _Transfer, pipeline: Pipeline, script: Script[tuple[int, str]], last: str | None
) -> Script[None]:
    """Run a transfer to its end, whatever that is, and report it; `last` is called if the script did not get there."""
    code, text, failure = 1, "", None
    try:
        code, text = yield from script
    except _Problem as problem:
        text = str(problem)
        yield from pipeline.give_up(last)
    except MasterLost:
        pass
    except PipelineStopped:
        yield from pipeline.give_up(last)
    except HostError:
        yield from pipeline.give_up(last)
        raise
    except BlockRefused as refused:
        failure = refused.failure
        yield from pipeline.give_up(last)
    if text:
        yield from SendText("stderr", transfer.line(text))
    yield from SendItem("rc", code)
    if failure is not None:
        raise CommandError(failure.kind, failure.message)


# -- to the master


def upload_file(arguments: Arguments, context: CommandContext) -> Script[None]:
    """`uploadFile`: send a file to a writer of the master."""
    transfer = _transfer(arguments, context, "writer", "workersrc", "slavesrc")
    pipeline = Pipeline(transfer.peer, UPLOAD_WINDOW)
    keepstamp = bool(arguments.get("keepstamp", False))
    return _guarded(transfer, pipeline, _upload_file(transfer, pipeline, keepstamp), "close")


def _upload_file(transfer: _Transfer, pipeline: Pipeline, keepstamp: bool) -> Script[tuple[int, str]]:
    yield from SendText("header", transfer.line(f"sending {transfer.shown}"))
    cannot_open = f"Cannot open file '{transfer.shown}' for upload"
    try:
        before = yield from pipeline.perform(StatPath(transfer.path))
        first = yield from pipeline.perform(ReadFile(transfer.path, 0, CHUNK)) if is_regular(before) else _no_file()
    except HostError as error:
        raise _problem(error, cannot_open) from None
    writer = BlockWriter(pipeline, transfer.blocksize, transfer.maxsize)
    try:
        yield from _send_file(transfer, pipeline, writer, first)
        after = yield from pipeline.perform(StatPath(transfer.path))
    except HostError as error:
        raise _problem(error, f"Cannot read file '{transfer.shown}': {error.strerror}") from None
    if (before.device, before.inode) != (after.device, after.inode):
        raise _Problem(f"File '{transfer.shown}' was replaced while it was sent")
    yield from pipeline.call("close")
    if keepstamp:
        yield from pipeline.call("utime", (before.accessed / 10**9, before.modified / 10**9))
    return (1, transfer.truncated) if writer.full else (0, "")


def _no_file() -> Script[bytes]:
    yield from ()
    raise HostError(0, "not a regular file")


def _send_file(transfer: _Transfer, pipeline: Pipeline, writer: BlockWriter, data: bytes) -> Script[None]:
    offset = 0
    while data and not writer.full:
        yield from writer.feed(data)
        offset += len(data)
        data = yield from pipeline.perform(ReadFile(transfer.path, offset, CHUNK))
    yield from writer.feed(b"", last=True)


def upload_directory(arguments: Arguments, context: CommandContext) -> Script[None]:
    """`uploadDirectory`: send a directory as an archive, and have the master unpack it."""
    transfer = _transfer(arguments, context, "writer", "workersrc", "slavesrc")
    pipeline = Pipeline(transfer.peer)
    compress = arguments.get("compress")
    compression = "" if compress is None else context.text("compress", compress)
    return _guarded(transfer, pipeline, _upload_directory(transfer, pipeline, compression), None)


def _upload_directory(transfer: _Transfer, pipeline: Pipeline, compression: str) -> Script[tuple[int, str]]:
    try:
        info = yield from pipeline.perform(StatPath(transfer.path))
        if not is_directory(info):
            raise HostError(20, "Not a directory")
        entries = yield from pipeline.perform(ScanDir(transfer.path))
    except HostError as error:
        raise _problem(
            error,
            f"Cannot read directory '{transfer.shown}' for upload: "
            f"[Errno {error.errno}] {error.strerror}: {transfer.shown!r}",
        ) from None
    yield from SendText("header", transfer.line(f"sending {transfer.shown}"))
    writer = BlockWriter(pipeline, transfer.blocksize, transfer.maxsize)

    def feed(data: bytes) -> Script[None]:
        yield from writer.feed(data)
        if writer.full:
            raise _Problem(transfer.truncated)

    archive = TreeArchive(pipeline, transfer.context, feed, compressor(compression))
    yield from archive.make(transfer.path, info, entries)
    yield from writer.feed(b"", last=True)
    if writer.full:
        raise _Problem(transfer.truncated)
    for line in archive.lines:
        yield from SendText("stderr", f"left out: {line}\n")
    if archive.left_out > len(archive.lines):
        yield from SendText("stderr", f"left out: {archive.left_out - len(archive.lines)} more\n")
    if archive.left_out:
        # Real masters pass over it. Ours knows by it that a success is not a whole one.
        yield from SendItem(LEFT_OUT, archive.left_out)
    yield from pipeline.call("unpack")
    return 0, ""


# -- from the master


def download_file(arguments: Arguments, context: CommandContext) -> Script[None]:
    """`downloadFile`: write a file with the bytes of a reader of the master."""
    transfer = _transfer(arguments, context, "reader", "workerdest", "slavedest")
    mode = count("mode", arguments.get("mode"))
    pipeline = Pipeline(transfer.peer)
    return _guarded(transfer, pipeline, _download_file(transfer, pipeline, mode), "close")


def _download_file(transfer: _Transfer, pipeline: Pipeline, mode: int | None) -> Script[tuple[int, str]]:
    try:
        temp = yield from CreateTemp(transfer.path)
    except HostError as error:
        raise _problem(error, f"Cannot open file '{transfer.shown}' for download") from None
    try:
        if mode is None:
            mode = yield from _present_mode(transfer.path)
        size = yield from _Reader(transfer, pipeline, temp).run()
        yield from PlaceFile(temp, transfer.path, None if mode is None else mode & 0o7777)
    except Exception as error:
        # Half a file must not stay, whatever the reason.
        yield from _remove(temp)
        if isinstance(error, HostError):
            raise _problem(error, f"Cannot write file '{transfer.shown}': {error.strerror}") from None
        raise
    # The file is complete: if the master cannot close its reader, that is no failure of this command.
    yield from pipeline.give_up("close")
    return (1, transfer.truncated) if size == transfer.maxsize else (0, "")


def _present_mode(path: str) -> Script[int | None]:
    """Return the permissions of the file that will be replaced, which the new one gets; None if there is none."""
    try:
        info: PathInfo = yield from StatPath(path)
    except HostError:
        return None
    return info.mode


def _remove(temp: str) -> Script[None]:
    try:
        yield from Unlink(temp)
    except HostError:
        return


@attrs.define
class _Reader:
    """Reader of a master's file: it asks for blocks until one is empty, and writes them.

    Args:
        transfer: the arguments.
        pipeline: the calls to the master's reader.
        temp: the file to write to.
    """

    transfer: _Transfer
    pipeline: Pipeline
    temp: str
    _window: int = attrs.field(default=FIRST_CALLS, init=False)
    _received: int = attrs.field(default=0, init=False)
    _written: int = attrs.field(default=0, init=False)
    _unwritten: bytearray = attrs.field(factory=bytearray, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    def run(self) -> Script[int]:
        """Return the size of the file."""
        while True:
            while not self._ended and (size := self._next_size()):
                yield from self.pipeline.begin(size, "read", size)
            if not self.pipeline.pending:
                break
            yield from self.pipeline.wait()
            self._take_answers()
            if len(self._unwritten) >= CHUNK:
                yield from self._write()
                self._take_answers()
        yield from self._write()
        return self._received

    def _next_size(self) -> int:
        """Return the size of the next block to ask for, 0 for none at present."""
        size, maxsize = self.transfer.blocksize, self.transfer.maxsize
        if maxsize is not None:
            size = min(size, maxsize - self._received - self.pipeline.pending_bytes)
        if self.pipeline.pending >= self._window or not self.pipeline.has_room(size):
            return 0
        return size

    def _take_answers(self) -> None:
        while self.pipeline.answers:
            size, value = self.pipeline.answers.popleft()
            data = value.encode(self.transfer.context.encoding) if isinstance(value, str) else value
            if not isinstance(data, bytes) or len(data) > size:
                raise _Problem("The master's reader did not give what it was asked for")
            if data and self._ended:
                raise _Problem("The master's reader went on after its end")
            self._ended = self._ended or not data
            self._window = min(self._window + 1, MOST_CALLS)
            self._received += len(data)
            self._unwritten += data

    def _write(self) -> Script[None]:
        data, self._unwritten = bytes(self._unwritten), bytearray()
        if data:
            yield from self.pipeline.perform(WriteFile(self.temp, self._written, data))
            self._written += len(data)


SCRIPTS: Final = {"uploadFile": upload_file, "uploadDirectory": upload_directory, "downloadFile": download_file}
