"""The terminal while builds run: lines with a prefix, colours, and a status line at the bottom."""

from __future__ import annotations

import math
import os
import re
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio

from slaveproto.ci.show.console import one_line, write_all
from transports.trio.nurseries import open_nursery

Style = str
PLAIN: Final = ""
BOLD: Final = "1"
DIM: Final = "2"
RED: Final = "31"
GREEN: Final = "32"
YELLOW: Final = "33"
BUILDER_STYLES: Final = ("36", "35", "34", "32", "33", "96", "95", "94")

UNREAD_LINES: Final = 1000
UNWRITTEN: Final = 1024 * 1024
"""Characters that may wait to be written; beyond them `show` waits."""
TICK: Final = 1.0
# Looks at a run of carriage returns from its beginning only, or a long one would take for ever.
_LINE_END: Final = re.compile(rb"(?<!\r)(?:\r*+\n|\r++(?=[^\n]))")
_COLOURS: Final = re.compile(r"\x1b\[[0-9;:]{0,30}m")
_ESCAPES: Final = re.compile(r"(\x1b(?:\[[0-9;?:<=>]{0,30}[ -/]{0,4}[@-~]|[@-Z\\^_]))")


class Terminal:
    """Writes lines to a descriptor, with a status line below them if that is a terminal. Made by `open_terminal`.

    `show` waits for a reader that is slow; `note` never waits.
    """

    def __init__(self, descriptor: int, environ: Mapping[str, str]) -> None:
        self._descriptor = descriptor
        self._is_file = _is_file(descriptor)
        self._live = os.isatty(descriptor) and environ.get("TERM") != "dumb"
        self.coloured = self._live and not environ.get("NO_COLOR")
        self._sender, self._lines = trio.open_memory_channel[str](UNREAD_LINES)
        self._status: Callable[[], str] = lambda: ""
        self._shown = False
        self._lost = 0
        self._unwritten = 0
        self._written = trio.Event()

    def show_below(self, status: Callable[[], str]) -> None:
        """Show below the lines what `status` returns, anew each second; nothing if it is empty."""
        self._status = status

    def paint(self, text: str, style: Style) -> str:
        """Return `text` in a style, or as it is where there are no colours."""
        return f"\x1b[{style}m{text}\x1b[0m" if self.coloured and style else text

    async def show(self, *lines: str) -> None:
        """Write lines, which have no line ends and are clean."""
        text = "\n".join(lines)
        self._unwritten += len(text)
        await self._sender.send(text)
        while self._unwritten > UNWRITTEN:
            await self._written.wait()

    def note(self, line: str) -> None:
        """Write a line, without colours, or leave it out if too many wait already."""
        try:
            self._sender.send_nowait(one_line(line))
        except trio.WouldBlock:
            self._lost += 1
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            # After the end, or when what writes was cancelled before.
            return

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Write until `finish`."""
        task_status.started()
        with self._lines:
            while True:
                with trio.move_on_after(TICK if self._live else math.inf) as waiting:
                    try:
                        text = await self._lines.receive()
                    except trio.EndOfChannel:
                        await self._write(self._erase())
                        return
                lines = "" if waiting.cancelled_caught else self._gather(text)
                await self._write(self._erase() + lines + self._bottom())
                self._unwritten = max(0, self._unwritten - len(lines))
                self._written.set()
                self._written = trio.Event()

    def finish(self) -> None:
        """Write what is left, and no more."""
        self._sender.close()

    def _gather(self, first: str) -> str:
        lines = [first]
        # One call of the system for what has come together meanwhile.
        while len(lines) < UNREAD_LINES:
            try:
                lines.append(self._lines.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        if self._lost:
            lines.append(f"({self._lost} lines were not read in time and are left out)")
            self._lost = 0
        return "".join(f"{line}\n" for line in lines)

    def _erase(self) -> str:
        erase = "\r\x1b[K" if self._shown else ""
        self._shown = False
        return erase

    def _bottom(self) -> str:
        status = self._status() if self._live else ""
        if not status:
            return ""
        self._shown = True
        # One column less: a terminal that is exactly full may begin a new line.
        return self.paint(one_line(status)[: shutil.get_terminal_size().columns - 1], DIM)

    async def _write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        if data and self._is_file:
            write_all(self._descriptor, data)
        elif data:
            # In a thread, for the reader may be slow.
            await trio.to_thread.run_sync(write_all, self._descriptor, data, abandon_on_cancel=True)


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        # It may be closed.
        return False


@asynccontextmanager
async def open_terminal(descriptor: int) -> AsyncIterator[Terminal]:
    """Open a terminal for as long as the block lasts. At its end everything is written."""
    terminal = Terminal(descriptor, os.environ)
    async with open_nursery() as nursery:
        await nursery.start(terminal.run)
        try:
            yield terminal
        finally:
            terminal.finish()


class LineSplitter:
    """Cuts what arrives in pieces into lines.

    Args:
        longest: bytes after which a line is cut although it has not ended.
    """

    def __init__(self, longest: int = 64 * 1024) -> None:
        self._longest = longest
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now. A carriage return ends one, too: it is used for progress."""
        *lines, rest = _LINE_END.split(self._rest + data)
        while len(rest) > self._longest:
            lines.append(rest[: self._longest])
            rest = rest[self._longest :]
        self._rest = rest
        return lines

    def end(self) -> list[bytes]:
        """Return the last line, if it lacks its end."""
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        return [rest] if rest else []


def clean(line: bytes, *, colours: bool) -> str:
    """Return a line of output in a form that does a terminal no harm: colours may stay, other sequences go."""
    pieces = _ESCAPES.split(line.decode("utf-8", "backslashreplace"))
    kept = [
        _printable(piece) if number % 2 == 0 else piece if colours and _COLOURS.fullmatch(piece) else ""
        for number, piece in enumerate(pieces)
    ]
    return "".join(kept) + ("\x1b[0m" if any(kept[1::2]) else "")


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\t" else repr(char)[1:-1] for char in text)
