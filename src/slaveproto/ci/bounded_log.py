"""Log files of builds, which have a largest size."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import BinaryIO, Final

TAIL: Final = 1024 * 1024
"""Most bytes that are kept of the end; they are in memory until the log ends."""


class BoundedLog:
    """A log file of which the beginning and the end are kept, with a line between them that tells how much is not.

    Args:
        file: without a buffer; it becomes ours.
        most: bytes that are kept; 0 for all.
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = most
        self._room = most - min(TAIL, most // 2)
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._left_out = 0

    def write(self, data: bytes) -> None:
        """Write all of it, keep it for the end, or leave it out.

        Raises:
            OSError: the file cannot be written.
        """
        if not self._most:
            self._write(data)
            return
        head = data[: self._room]
        self._write(head)
        self._room -= len(head)
        if len(head) < len(data):
            self._keep(data[len(head) :])

    def close(self) -> None:
        """Write what is kept of the end, and close the file.

        Raises:
            OSError: the file cannot be written; it is closed.
        """
        with self._file:
            if self._left_out:
                self._write(b"\n[%d bytes are left out here: log_max_size is %d]\n" % (self._left_out, self._most))
            for data in self._tail:
                self._write(data)

    def cut(self, last: bytes) -> int:
        """Close a log that cannot be written, with some last words, and keep half of it; return how many bytes."""
        with self._file, contextlib.suppress(OSError):
            kept = self._file.truncate(self._file.tell() // 2)
            self._file.seek(kept)
            self._write(last)
            return kept
        return 0

    @property
    def path(self) -> str:
        """The path of the file."""
        return str(self._file.name)

    def _keep(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_size += len(data)
        over = self._tail_size - min(TAIL, self._most // 2)
        while over > 0:
            first = self._tail.popleft()
            if len(first) > over:
                self._tail.appendleft(first[over:])
            gone = min(len(first), over)
            over -= gone
            self._tail_size -= gone
            self._left_out += gone

    def _write(self, data: bytes) -> None:
        while data:
            data = data[self._file.write(data) :]
