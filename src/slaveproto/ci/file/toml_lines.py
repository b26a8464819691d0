"""Line numbers of the keys and items of a TOML file, which the standard library's parser does not tell.

Source: the TOML 1.0 specification.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys from the outside in; items of an array, and tables of an array of tables, by their index from 0."""

_BLANK: Final = re.compile(r"[ \t]*")
_BLANK_LINES: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+"""(?:"{0,2})'
    r"|'''(?:[^']++|'(?!''))*+'''(?:'{0,2})"
    r'|"(?:[^"\\]++|\\.)*+"'
    r"|'[^']*+'",
    re.DOTALL,
)
_OTHER_VALUE: Final = re.compile(r"[^,\]}\n#]*")


def locate(text: str) -> dict[Path, int]:
    """Return the line, from 1, of every key, table and array item of a document that `tomllib` has accepted."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._position = 0
        # Up to `_counted` there are `_line - 1` line ends.
        self._line, self._counted = 1, 0
        self._tables_of: dict[Path, int] = {}

    def scan(self) -> None:
        table: Path = ()
        self._skip(_BLANK_LINES)
        while self._position < len(self._text):
            if self._takes("[["):
                *outer, last = self._key()
                array = (*self._enter((), outer), last)
                self._mark(array)
                index = self._tables_of.get(array, 0)
                self._tables_of[array] = index + 1
                table = (*array, index)
                self._mark(table)
                self._takes("]]")
            elif self._takes("["):
                table = self._enter((), self._key())
                self._takes("]")
            else:
                self._pair(table)
            self._skip(_BLANK_LINES)

    def _pair(self, table: Path) -> None:
        path = self._enter(table, self._key())
        self._takes("=")
        self._skip(_BLANK)
        self._value(path)

    def _enter(self, path: Path, keys: list[str]) -> Path:
        for key in keys:
            path = (*path, key)
            self._mark(path)
            if path in self._tables_of:
                path = (*path, self._tables_of[path] - 1)
        return path

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_BLANK)
            if self._text[self._position] in "\"'":
                parts.append(tomllib.loads(f"it = {self._skip(_STRING)}")["it"])
            else:
                parts.append(self._skip(_BARE_KEY))
            self._skip(_BLANK)
            if not self._takes("."):
                return parts

    def _value(self, path: Path) -> None:
        match self._text[self._position]:
            case "[":
                self._items("]", lambda index: self._item((*path, index)))
            case "{":
                self._items("}", lambda _: self._pair(path))
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_OTHER_VALUE)

    def _items(self, end: str, take: Callable[[int], None]) -> None:
        self._position += 1
        index = 0
        while True:
            self._skip(_BLANK_LINES)
            if self._takes(end):
                return
            take(index)
            index += 1
            self._skip(_BLANK_LINES)
            self._takes(",")

    def _item(self, path: Path) -> None:
        self._mark(path)
        self._value(path)

    def _mark(self, path: Path) -> None:
        self._line += self._text.count("\n", self._counted, self._position)
        self._counted = self._position
        self.lines.setdefault(path, self._line)

    def _takes(self, token: str) -> bool:
        found = self._text.startswith(token, self._position)
        if found:
            self._position += len(token)
        return found

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._position)
        assert match is not None, f"tomllib does not accept this: {self._text[self._position :][:20]!r}"
        self._position = match.end()
        return match[0]
