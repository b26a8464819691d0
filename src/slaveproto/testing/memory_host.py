"""A host in memory: directories, files and processes that exist only here."""

from __future__ import annotations

import bz2
import io
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final, assert_never

import attrs

from slaveproto.effects import (
    Abandon,
    Cancel,
    CloseConnection,
    CopyTree,
    CountUnacknowledged,
    CreateTemp,
    ExpandGlob,
    FileEffect,
    FileStamp,
    FindHolders,
    Holder,
    HostEffect,
    ListDir,
    ListNames,
    MakeDirs,
    OpenConnection,
    PathInfo,
    PlaceFile,
    ProcessClosed,
    ProcessExited,
    ReadDir,
    ReadFile,
    RemoveTree,
    Request,
    ScanDir,
    SetTimes,
    Signal,
    Spawn,
    Stat,
    StatPath,
    TreeEntry,
    Unlink,
    UnpackTree,
    WriteFile,
)
from slaveproto.errors import HostError
from slaveproto.inputs import Completed, Rejected
from slaveproto.slave.events import Input

SIGNAL_NUMBERS: Final[Mapping[str, int]] = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "TERM": 15}


@attrs.define
class MemoryChild:
    """A process that a `MemoryHost` started.

    Args:
        number: its number, that of the request.
        effect: how it was started.
        survives: the names of the signals that do not end it.
    """

    number: int
    effect: Spawn
    survives: frozenset[str]
    signals: list[str] = attrs.field(factory=list)
    running: bool = True
    abandoned: bool = False


@attrs.define
class _File:
    data: bytes
    inode: int
    changed: int
    mode: int = 0o644
    accessed: float = 0.0
    modified: float | None = None


def _missing() -> HostError:
    return HostError(2, "No such file or directory")


class MemoryHost:
    """A host that performs effects on directories, files and processes in memory.

    Args:
        directories: the paths that exist from the beginning.
    """

    def __init__(self, directories: Iterable[str] = ()) -> None:
        self.directories: set[str] = set(directories)
        self.children: dict[int, MemoryChild] = {}
        self.survives: frozenset[str] = frozenset()
        """The names of the signals that do not end children which start from now on."""
        self.refuses: Callable[[HostEffect], HostError | None] = lambda effect: None
        """A function that is called before each effect is performed; if it returns an error, the effect fails so."""
        self.holders: dict[int, tuple[Holder, ...]] = {}
        """Those that hold the outputs of a process open, by its number."""
        self._files: dict[str, _File] = {}
        self._changes = 0

    def write(self, path: str, data: bytes) -> None:
        """Create a file, or replace what is in it."""
        self._changes += 1
        before = self._files.get(path)
        self._files[path] = _File(data, self._changes if before is None else before.inode, self._changes)

    def append(self, path: str, data: bytes) -> None:
        """Append to a file; it is created if need be."""
        before = self._files.get(path)
        self.write(path, data if before is None else before.data + data)

    def remove(self, path: str) -> None:
        """Remove a file."""
        del self._files[path]

    def read(self, path: str) -> bytes:
        """Return what is in a file; raises HostError."""
        return self._file(path).data

    def mode(self, path: str) -> int:
        """Return the permission bits of a file; raises HostError."""
        return self._file(path).mode

    @property
    def paths(self) -> set[str]:
        """The paths of all files."""
        return set(self._files)

    def perform(self, request: Request) -> list[Input]:
        """Return the reports of a request, which must not be about a connection."""
        error = self.refuses(request.effect)
        if error is not None:
            return [Rejected(request.id, error)]
        match request.effect:
            case OpenConnection() | CloseConnection() | CountUnacknowledged():
                raise TypeError("this host has no network")
            case Spawn() as effect:
                self.children[request.id] = MemoryChild(request.id, effect, self.survives)
                return [Completed(request.id, request.id)]
            case Signal(process, name):
                child = self.children.get(process)
                if child is None:
                    return [Completed(request.id, False)]
                child.signals.append(name)
                done = Completed(request.id, child.running)
                if not child.running or name in child.survives:
                    return [done]
                if name not in SIGNAL_NUMBERS:
                    return [Rejected(request.id, HostError(22, f"there is no signal {name}"))]
                return [done, *self.end(process, signal=SIGNAL_NUMBERS[name])]
            case FindHolders(process):
                return [Completed(request.id, self.holders.get(process, ()))]
            case Abandon(process):
                if process in self.children:
                    self.children[process].abandoned = True
                return [Completed(request.id, None)]
            case Cancel():
                # No effect takes long here.
                return [Completed(request.id, None)]
            case effect:
                try:
                    return [Completed(request.id, self.reply_to(effect))]
                except HostError as failure:
                    return [Rejected(request.id, failure)]

    def reply_to(self, effect: FileEffect) -> object:
        """Return the reply to an effect on files; raises HostError."""
        match effect:
            case MakeDirs(path):
                new = path not in self.directories
                self.directories.add(path)
                return new
            case ListDir(path):
                return tuple(name for name in self._names(path) if self._is_directory(f"{path}/{name}"))
            case ReadDir(path):
                names = {name: name.removeprefix(path + "/") for name in self._files}
                return {short: self._files[name].data for name, short in names.items() if "/" not in short}
            case Stat(path):
                file = self._files.get(path)
                return file and FileStamp(file.inode, len(file.data), file.changed, file.changed)
            case ReadFile(path, offset, size):
                return self._file(path).data[offset : offset + size]
            case CreateTemp(path):
                return self._create_temp(path)
            case WriteFile(path, offset, data):
                file = self._file(path)
                file.data = file.data[:offset].ljust(offset, b"\0") + data + file.data[offset + len(data) :]
                return None
            case PlaceFile(path, target, mode):
                self._replaceable(target)
                file = self._file(path)
                file.mode = file.mode if mode is None else mode
                self._files[target] = self._files.pop(path)
                return None
            case Unlink(path):
                self._replaceable(path)
                return self._files.pop(path, None) is not None
            case SetTimes(path, accessed, modified):
                self._file(path).accessed = accessed
                self._file(path).modified = modified
                return None
            case UnpackTree():
                self._unpack(effect)
                return ()
            case StatPath(path):
                return self._info(path)
            case ListNames(path):
                return self._names(path)
            case ScanDir(path):
                return tuple(TreeEntry(name, self._info(f"{path}/{name}"), "") for name in self._names(path))
            case ExpandGlob(pattern, recursive):
                shape = _glob_pattern(pattern, recursive)
                return tuple(sorted(path for path in {*self._files, *self.directories} if shape.fullmatch(path)))
            case RemoveTree(path):
                self._files = {name: file for name, file in self._files.items() if not _inside(name, path)}
                self.directories = {name for name in self.directories if not _inside(name, path)}
                return ()
            case CopyTree(source, target):
                return self._copy(source, target)
            case _:
                assert_never(effect)

    def _file(self, path: str) -> _File:
        if path not in self._files:
            raise _missing()
        return self._files[path]

    def _is_directory(self, path: str) -> bool:
        return path in self.directories or any(_inside(name, path) and name != path for name in self._everything())

    def _everything(self) -> set[str]:
        return {*self._files, *self.directories}

    def _names(self, path: str) -> tuple[str, ...]:
        if path in self._files:
            raise HostError(20, "Not a directory")
        if not self._is_directory(path):
            raise _missing()
        inside = (name[len(path) + 1 :] for name in self._everything() if name != path and _inside(name, path))
        return (*sorted({name.partition("/")[0] for name in inside}),)

    def _info(self, path: str) -> PathInfo:
        if path not in self._files:
            if not self._is_directory(path):
                raise _missing()
            return PathInfo(0o040755, 1, 1, 2, 0, 0, 0, 0, 0, 0)
        file = self._files[path]
        changed = file.changed * 10**9
        modified = changed if file.modified is None else round(file.modified * 10**9)
        accessed = round(file.accessed * 10**9)
        mode = 0o100000 | file.mode
        return PathInfo(mode, file.inode, 1, 1, 0, 0, len(file.data), accessed, modified, changed)

    def _replaceable(self, path: str) -> None:
        if self._is_directory(path):
            raise HostError(21, "Is a directory")

    def _create_temp(self, path: str) -> str:
        self._replaceable(path)
        directory, name = posixpath.split(path)
        if any(_inside(directory, file) for file in self._files):
            raise HostError(20, "Not a directory")
        self.directories.add(directory)
        temp = f"{directory}/.{name}.{self._changes}.part"
        self.write(temp, b"")
        return temp

    def _copy(self, source: str, target: str) -> tuple[str, ...]:
        if self._is_directory(target):
            target = posixpath.join(target, posixpath.basename(source))
        if source not in self._files and not self._is_directory(source):
            return (f"{source}: No such file or directory",)
        self.directories |= {target + name[len(source) :] for name in self.directories if _inside(name, source)}
        for name, file in list(self._files.items()):
            if _inside(name, source):
                self.write(target + name[len(source) :], file.data)
        return ()

    def _unpack(self, effect: UnpackTree) -> None:
        """Directories and regular files only."""
        data = self._file(effect.archive).data
        try:
            if effect.compression:
                data = zlib.decompress(data, 31) if effect.compression == "gz" else bz2.decompress(data)
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                members = archive.getmembers()
                contents = {member.name: archive.extractfile(member) for member in members if member.isreg()}
                files = {name: content.read() for name, content in contents.items() if content is not None}
        except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError):
            raise HostError(74, "no archive that can be read") from None
        bad = any(".." in member.name.split("/") or member.name.startswith("/") for member in members)
        if bad or len(members) > effect.entries or sum(map(len, files.values())) > effect.limit:
            raise HostError(1, "refused")
        self.directories |= {posixpath.join(effect.target, member.name) for member in members if member.isdir()}
        self.directories.add(effect.target)
        for name, content in files.items():
            self.write(posixpath.join(effect.target, name), content)

    def end(self, process: int, code: int = 0, signal: int | None = None) -> list[Input]:
        """End a process and return the reports of it."""
        self.children[process].running = False
        return [ProcessExited(process, code, signal), ProcessClosed(process)]


def _inside(name: str, directory: str) -> bool:
    return name == directory or name.startswith(directory + "/")


def _glob_pattern(pattern: str, recursive: bool) -> re.Pattern[str]:
    shapes = {"**/": "(?:[^/]+/)*" if recursive else "[^/]*/", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*|\?)", pattern)
    return re.compile("".join(shapes.get(part, re.escape(part)) for part in parts))
