"""A host in memory: directories, files and processes that exist only here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from slaveproto.effects import (
    Abandon,
    CloseConnection,
    FileStamp,
    HostEffect,
    ListDir,
    MakeDirs,
    OpenConnection,
    ProcessClosed,
    ProcessExited,
    ReadDir,
    ReadFile,
    Request,
    Signal,
    Spawn,
    StatFile,
)
from slaveproto.errors import HostError
from slaveproto.slave.events import (
    Completed,
    Input,
    Rejected,
)

SIGNAL_NUMBERS: Final[Mapping[str, int]] = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "TERM": 15}


@attrs.define
class Child:
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


class MemoryHost:
    """Performs effects on directories, files and processes that exist only here.

    Args:
        directories: those that are there from the beginning.
    """

    def __init__(self, directories: Iterable[str] = ()) -> None:
        self.directories: set[str] = set(directories)
        self.children: dict[int, Child] = {}
        self.survives: frozenset[str] = frozenset()
        """The names of the signals that do not end children which start from now on."""
        self.refuses: Callable[[HostEffect], HostError | None] = lambda effect: None
        """Is asked before each effect is performed; what it returns is how the effect fails."""
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

    def perform(self, request: Request) -> list[Input]:
        """Return the reports of a request. Connections are none of this host's business."""
        error = self.refuses(request.effect)
        if error is not None:
            return [Rejected(request.id, error)]
        match request.effect:
            case OpenConnection() | CloseConnection():
                raise TypeError("this host has no network")
            case Spawn() as effect:
                self.children[request.id] = Child(request.id, effect, self.survives)
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
            case Abandon(process):
                if process in self.children:
                    self.children[process].abandoned = True
                return [Completed(request.id, None)]
            case effect:
                return [Completed(request.id, self.reply_to(effect))]

    def reply_to(self, effect: MakeDirs | ListDir | ReadDir | StatFile | ReadFile) -> object:
        """Return the reply to an effect on files."""
        match effect:
            case MakeDirs(path):
                new = path not in self.directories
                self.directories.add(path)
                return new
            case ListDir(path):
                inside = (directory.removeprefix(path + "/") for directory in self.directories - {path})
                return tuple(name for name in inside if "/" not in name)
            case ReadDir(path):
                names = {name: name.removeprefix(path + "/") for name in self._files}
                return {short: self._files[name].data for name, short in names.items() if "/" not in short}
            case StatFile(path):
                file = self._files.get(path)
                return file and FileStamp(file.inode, len(file.data), file.changed, file.changed)
            case ReadFile(path, offset, size):
                return self._files[path].data[offset : offset + size]

    def end(self, process: int, code: int = 0, signal: int | None = None) -> list[Input]:
        """End a process and return the reports of it."""
        self.children[process].running = False
        return [ProcessExited(process, code, signal), ProcessClosed(process)]
