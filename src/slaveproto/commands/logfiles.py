"""Log files that a running command writes, followed as they grow."""

from __future__ import annotations

from typing import Final

import attrs

from slaveproto.commands.context import CommandContext
from slaveproto.effects import FileStamp, Heard, ReadFile, Script, SendText, Stat
from slaveproto.errors import CommandError, HostError
from slaveproto.wire.values import Value

POLL_INTERVAL: Final = 2.0
"""Seconds between two looks at a log file."""

_BLOCK: Final = 64 * 1024
_BLOCKS_PER_POLL: Final = 16


@attrs.define
class LogWatcher:
    """Watcher of one file. Nothing is sent before the file differs from what it was when the command started.

    Args:
        name: the name of the log, as the master spelt it.
        path: the file.
        follow: send only what is appended after the start; else the whole file.
    """

    name: bytes | str
    path: str
    follow: bool
    _before: FileStamp | None = attrs.field(default=None, init=False)
    _inode: int | None = attrs.field(default=None, init=False)
    _offset: int = attrs.field(default=0, init=False)

    def begin(self) -> Script[None]:
        """Remember what the file is before the command runs."""
        self._before = yield from self._stat()

    def poll(self, *, to_the_end: bool = False) -> Script[bool]:
        """Send what is new; return whether anything was.

        Reading stops at the size that the file had when the poll began, and unless `to_the_end` after a megabyte, so
        that a file that grows for ever does not keep the command from anything else.
        """
        stamp = yield from self._stat()
        if stamp is None or stamp == self._before:
            return False
        if stamp.inode != self._inode or stamp.size < self._offset:
            same = self._inode is None and self._before is not None and self._before.inode == stamp.inode
            size = self._before.size if same and self._before is not None else 0
            self._offset = size if self.follow and size <= stamp.size else 0
            self._inode = stamp.inode
        start = self._offset
        limit = stamp.size if to_the_end else min(stamp.size, start + _BLOCK * _BLOCKS_PER_POLL)
        while self._offset < limit and (yield from Heard()):
            try:
                data = yield from ReadFile(self.path, self._offset, min(_BLOCK, limit - self._offset))
            except HostError:
                break
            if not data:
                break
            self._offset += len(data)
            yield from SendText("log", data, self.name)
        return self._offset > start

    def _stat(self) -> Script[FileStamp | None]:
        try:
            return (yield from Stat(self.path))
        except HostError:
            return None


def watchers(logfiles: Value, workdir: str, context: CommandContext) -> list[LogWatcher]:
    """Return a watcher for each entry of the argument `logfiles`: name -> path, or name -> {filename, follow}.

    Raises:
        CommandError: it has another form.
    """
    if not logfiles:
        return []
    if not isinstance(logfiles, dict):
        raise CommandError("builtins.TypeError", "logfiles should be a dictionary")
    found = []
    for name, spec in logfiles.items():
        if not isinstance(name, (str, bytes)):
            raise CommandError("builtins.TypeError", "the name of a log should be text")
        options = {context.text("logfiles", k): v for k, v in spec.items()} if isinstance(spec, dict) else {}
        if not all(isinstance(value, (bytes, str, int, float, type(None))) for value in options.values()):
            raise CommandError("builtins.TypeError", "logfiles should hold filenames and flags")
        filename = options.get("filename") if options else spec
        found.append(LogWatcher(name, context.path(workdir, filename), bool(options.get("follow", False))))
    return found
