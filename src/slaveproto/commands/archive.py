"""A tar archive of a directory, made while it is sent."""

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
_FIFO: Final = 0o010000

_TYPES: Final = {
    _DIRECTORY: tarfile.DIRTYPE,
    _REGULAR: tarfile.REGTYPE,
    _LINK: tarfile.SYMTYPE,
    _FIFO: tarfile.FIFOTYPE,
}


def is_directory(info: PathInfo) -> bool:
    """Whether it is a directory."""
    return info.mode & _TYPE == _DIRECTORY


def is_regular(info: PathInfo) -> bool:
    """Whether it is a regular file."""
    return info.mode & _TYPE == _REGULAR


class Changed(Exception):
    """A file became shorter than its header says, which cannot be taken back any more.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


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
    Entries that are neither file, directory, link nor fifo are left out.

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
    _size: int = attrs.field(default=0, init=False)
    # Files that have several names, by device and inode: the first name that they had here.
    _names: dict[tuple[int, int], str] = attrs.field(factory=dict, init=False)

    def make(self, path: str, info: PathInfo, entries: tuple[TreeEntry, ...]) -> Script[None]:
        """Archive the directory `path`, whose entries are known already.

        Raises:
            HostError: something in it cannot be read.
            Changed: a file became shorter on the way.
        """
        yield from self._add(TreeEntry("", info, ""), path, "")
        todo: list[tuple[str, str, Iterator[TreeEntry]]] = [(path, "", iter(entries))]
        while todo:
            directory, prefix, rest = todo[-1]
            entry = next(rest, None)
            if entry is None:
                todo.pop()
                continue
            here, name = join_paths(self.context.posix, directory, entry.name), prefix + entry.name
            yield from self._add(entry, here, name)
            if is_directory(entry.info):
                try:
                    inner = yield from self.pipeline.perform(ScanDir(here))
                except HostError as error:
                    raise HostError(error.errno, f"{error.strerror}: {here!r}") from None
                todo.append((here, name + "/", iter(inner)))
        yield from self._put(bytes(2 * tarfile.BLOCKSIZE))
        yield from self._put(bytes(-self._size % tarfile.RECORDSIZE))
        yield from self.feed(self.compressor.flush())

    def _add(self, entry: TreeEntry, path: str, name: str) -> Script[None]:
        info = entry.info
        kind = _TYPES.get(info.mode & _TYPE)
        if kind is None:
            return
        header = tarfile.TarInfo(name)
        header.type, header.linkname = kind, entry.link if self.context.posix else entry.link.replace("\\", "/")
        if is_regular(info):
            first = self._names.setdefault((info.device, info.inode), name) if info.links > 1 else name
            if first != name:
                header.type, header.linkname = tarfile.LNKTYPE, first
            else:
                header.size = info.size
        header.mode, header.uid, header.gid = info.mode & 0o7777, info.uid, info.gid
        whole = self.context.dialect is Dialect.BYTES
        # Slaves of the 0.8 generation wrote whole seconds in the older format.
        header.mtime = info.modified // 10**9 if whole else info.modified / 10**9
        yield from self._put(
            header.tobuf(tarfile.GNU_FORMAT if whole else tarfile.PAX_FORMAT, self.context.encoding, "surrogateescape")
        )
        if header.size:
            yield from self._add_content(path, header.size)

    def _add_content(self, path: str, size: int) -> Script[None]:
        offset = 0
        while offset < size:
            try:
                data = yield from self.pipeline.perform(ReadFile(path, offset, min(CHUNK, size - offset)))
            except HostError as error:
                raise HostError(error.errno, f"{error.strerror}: {path!r}") from None
            if not data:
                raise Changed(path)
            yield from self._put(data)
            offset += len(data)
        yield from self._put(bytes(-size % tarfile.BLOCKSIZE))

    def _put(self, data: bytes) -> Script[None]:
        self._size += len(data)
        yield from self.feed(self.compressor.compress(data))
