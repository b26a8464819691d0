"""A tar archive of a directory, made while it is sent.

Rules. One entry that cannot be sent does not cost the others: it is left out, and a line of text says so. What was
begun must keep the length that its header says: a file that became shorter is filled up with zeros, and told of, too.
"""

from __future__ import annotations

import bz2
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import attrs

from slaveproto.commands.context import CommandContext
from slaveproto.commands.pipelining import Pipeline
from slaveproto.effects import PathInfo, ReadFile, ScanDir, Script, TreeEntry
from slaveproto.errors import HostError
from slaveproto.paths import join_paths
from slaveproto.updates import Dialect

CHUNK: Final = 64 * 1024
"""Bytes that are read and compressed at a time; the session does nothing else meanwhile."""

_TYPE: Final = 0o170000
_DIRECTORY: Final = 0o040000
_REGULAR: Final = 0o100000
_LINK: Final = 0o120000

_TYPES: Final = {
    _DIRECTORY: tarfile.DIRTYPE,
    _REGULAR: tarfile.REGTYPE,
    _LINK: tarfile.SYMTYPE,
}

MOST_LINES: Final = 100
"""Entries that were left out that are told of one by one."""


def is_directory(info: PathInfo) -> bool:
    """Whether it is a directory."""
    return info.mode & _TYPE == _DIRECTORY


def is_regular(info: PathInfo) -> bool:
    """Whether it is a regular file."""
    return info.mode & _TYPE == _REGULAR


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(compression: str) -> _Compressor:
    """Return a compressor for `gz` or `bz2`; any other name means no compression, as with real slaves."""
    if compression == "gz":
        return zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    if compression == "bz2":
        return bz2.BZ2Compressor(9)
    return _Plain()


@attrs.define
class TreeArchive:
    """Archive of one directory, in the order of the names; links stay links.

    The top is called `/`, as in the archives of real slaves. If a file grows meanwhile, only its first part is kept.
    What is neither file, directory nor link, or cannot be read or named, is left out.

    Args:
        pipeline: performs the effects.
        context: the surroundings of the command.
        feed: takes the compressed bytes.
        compressor: compresses the bytes of the archive.
    """

    pipeline: Pipeline
    context: CommandContext
    feed: Callable[[bytes], Script[None]]
    compressor: _Compressor
    left_out: int = attrs.field(default=0, init=False)
    """Entries that are not in it, or not as they were."""
    lines: list[str] = attrs.field(factory=list, init=False)
    """A line about each of the first of them."""
    _size: int = attrs.field(default=0, init=False)
    # Files that have several names, by device and inode: the first name that they had here.
    _names: dict[tuple[int, int], str] = attrs.field(factory=dict, init=False)

    def make(self, path: str, info: PathInfo, entries: tuple[TreeEntry, ...]) -> Script[None]:
        """Archive the directory `path`, whose entries are known already."""
        yield from self._add(TreeEntry("", info, ""), path, "")
        todo: list[tuple[str, str, Iterator[TreeEntry]]] = [(path, "", iter(entries))]
        while todo:
            directory, prefix, rest = todo[-1]
            entry = next(rest, None)
            if entry is None:
                todo.pop()
                continue
            here, name = join_paths(self.context.posix, directory, entry.name), prefix + entry.name
            added = yield from self._add(entry, here, name)
            if added and is_directory(entry.info):
                try:
                    inner = yield from self.pipeline.perform(ScanDir(here))
                except HostError as error:
                    if error.is_shortage:
                        raise
                    self._leave_out(here, error.strerror)
                else:
                    todo.append((here, name + "/", iter(inner)))
        yield from self._put(bytes(2 * tarfile.BLOCKSIZE))
        yield from self._put(bytes(-self._size % tarfile.RECORDSIZE))
        yield from self.feed(self.compressor.flush())

    def _leave_out(self, path: str, why: str) -> None:
        self.left_out += 1
        if len(self.lines) < MOST_LINES:
            self.lines.append(f"{path!r}: {why}")

    def _add(self, entry: TreeEntry, path: str, name: str) -> Script[bool]:
        """Add an entry; return whether it could be."""
        info = entry.info
        kind = _TYPES.get(info.mode & _TYPE)
        if kind is None:
            self._leave_out(path, "neither file, directory nor link")
            return False
        header = tarfile.TarInfo(name)
        header.type, header.linkname = kind, entry.link if self.context.posix else entry.link.replace("\\", "/")
        if is_regular(info):
            first = self._names.get((info.device, info.inode), name) if info.links > 1 else name
            if first != name:
                header.type, header.linkname = tarfile.LNKTYPE, first
            else:
                header.size = info.size
        header.mode, header.uid, header.gid = info.mode & 0o7777, info.uid, info.gid
        whole = self.context.dialect is Dialect.BYTES
        # Slaves of the 0.8 generation wrote whole seconds in the older format.
        header.mtime = info.modified // 10**9 if whole else info.modified / 10**9
        try:
            # Before its header, for that cannot be taken back.
            start = (yield from self._read(path, 0, header.size)) if header.size else b""
            block = header.tobuf(
                tarfile.GNU_FORMAT if whole else tarfile.PAX_FORMAT, self.context.encoding, "surrogateescape"
            )
        except HostError as error:
            if error.is_shortage:
                raise
            self._leave_out(path, error.strerror)
            return False
        except UnicodeEncodeError:
            self._leave_out(path, f"its name cannot be said in {self.context.encoding}")
            return False
        if header.isreg() and info.links > 1:
            self._names[info.device, info.inode] = name
        yield from self._put(block)
        yield from self._add_content(path, start, header.size)
        return True

    def _read(self, path: str, offset: int, size: int) -> Script[bytes]:
        return self.pipeline.perform(ReadFile(path, offset, min(CHUNK, size - offset)))

    def _add_content(self, path: str, start: bytes, size: int) -> Script[None]:
        data, offset, problem = start, 0, ""
        while offset < size:
            if not data:
                problem = problem or "became shorter while it was sent"
                data = bytes(min(CHUNK, size - offset))
            yield from self._put(data)
            offset += len(data)
            data = b""
            if offset < size and not problem:
                try:
                    data = yield from self._read(path, offset, size)
                except HostError as error:
                    if error.is_shortage:
                        raise
                    problem = error.strerror
        if problem:
            self._leave_out(path, f"{problem}; the rest of it is zeros")
        yield from self._put(bytes(-size % tarfile.BLOCKSIZE))

    def _put(self, data: bytes) -> Script[None]:
        self._size += len(data)
        yield from self.feed(self.compressor.compress(data))
