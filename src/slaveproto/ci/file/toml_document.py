"""TOML files, and checks of their values. Each mistake is told in one line, with its place.

Rules.

* A `Kind` checks one value and returns what it means, or raises `UsageError`. Its docstring names the values that it
  takes; pages show it.
* The kinds here import nothing, because each start of a slave loads them. Those of the build file are in
  `slaveproto.ci.file.values`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from slaveproto.ci.errors import Mistakes, UsageError
from slaveproto.ci.file.toml_lines import Path, locate
from slaveproto.records import record

_KINDS: Final[dict[type, str]] = {
    str: "a string",
    int: "an integer",
    float: "a float",
    bool: "true or false",
    list: "an array",
    dict: "a table",
}


def kind_of(value: object) -> str:
    """Return what a value of a TOML file is called."""
    return name_of(type(value))


def name_of(kind: type) -> str:
    """Return what values of a type are called."""
    return _KINDS.get(kind, kind.__name__)


LONGEST: Final = 10**9 - 1
"""The longest time, in seconds, that a file may say: about 31 years."""

_LONG: Final = 10**20
_TOO_MANY_DIGITS: Final = re.compile(r"[0-9](?:_?[0-9]){4300,}")


@record
class Document:
    """A file that was read.

    Args:
        path: its name, as people know it.
        text: its text.
        values: the tables and values of that text.
    """

    path: str
    text: str
    values: dict[str, Any]

    @property
    def folder(self) -> str:
        """Absolute path of the folder that holds the file."""
        return os.path.dirname(os.path.abspath(self.path))

    def mistake(self, where: Path, words: str) -> UsageError:
        """Return the error for what is wrong at a place; () is the file itself."""
        return UsageError(f"{self.path}{f':{locate(self.text)[where]}' if where else ''}: {words}")


def read(path: str) -> Document:
    """Read a file.

    Raises:
        UsageError: the file cannot be read or is not TOML; the message has the line.
        FileNotFoundError: there is no such file.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
        text = data.decode()
        values = tomllib.loads(text)
        # Places are needed only if there is a mistake. But a nesting that is too deep to find them is a mistake, too.
        locate(text)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(_with_line(path, text, str(error))) from None
    except ValueError:
        # Python does not read a number of thousands of digits.
        found = _TOO_MANY_DIGITS.search(text)
        line = text.count("\n", 0, found.start() if found else 0) + 1
        raise UsageError(f"{path}:{line}: a number of too many digits") from None
    except RecursionError as error:
        raise UsageError(f"{path}: {error}") from None
    return Document(path, text, values)


def _with_line(path: str, text: str, message: str) -> str:
    words, _, place = message.rpartition(" (at ")
    found = re.match(r"line ([0-9]+)", place)
    # A message without a line is about the end of the file.
    line = int(found[1]) if found else text.removesuffix("\n").count("\n") + 1
    return f"{path}:{line}: {words}"


@record
class At:
    """A place in a file, whose value is checked.

    Args:
        document: the file.
        path: the place.
        name: what people call it.
        prefix: what the names of its keys begin with.
    """

    document: Document
    path: Path = ()
    name: str = "the file"
    prefix: str = ""

    def key(self, name: str) -> At:
        """Return the place of a key of this table."""
        called = f"{self.prefix}{name}"
        return At(self.document, (*self.path, name), called, f"{called}.")

    def item(self, index: int) -> At:
        """Return the place of an item of this array."""
        return At(self.document, (*self.path, index), f"item {index + 1} of {self.name}", f"{self.name}.")

    def section(self, name: str, index: int | None = None) -> At:
        """Return the place of the table `[name]`, or of one of the tables `[[name]]`, below this one."""
        outer = f"{self.name.strip('[]')}." if self.path else ""
        if index is None:
            return At(self.document, (*self.path, name), f"[{outer}{name}]", f"{name}.")
        return At(self.document, (*self.path, name, index), f"[[{outer}{name}]]", "")

    def wrong(self, words: str) -> UsageError:
        """Return the error that says what is wrong here."""
        return self.document.mistake(self.path, f"{self.name} {words}")


Kind: TypeAlias = Callable[[At, object], Any]
"""A check of one value: returns what the value means, or raises `UsageError`."""


def read_table(at: At, value: object, keys: Mapping[str, Kind], required: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the keys of a table mean.

    Raises:
        UsageError: the value is no table, has a key that is not among `keys` or a wrong value, or lacks a required key.
    """
    table = of_type(at, value, dict)
    mistakes = Mistakes()
    for key in table:
        if key not in keys:
            mistakes.add(unknown_key(at, key, keys))
    for key in required:
        if key not in table:
            mistakes.add(at.wrong(f"has no {key}"))
    given = {}
    for key, item in table.items():
        if key in keys:
            with mistakes.gathered():
                given[key] = keys[key](at.key(key), item)
    mistakes.check()
    return given


def unknown_key(at: At, key: str, keys: Iterable[str]) -> UsageError:
    """Return the error for a key of a table that should not be there."""
    return at.document.mistake((*at.path, key), f"unknown key {at.prefix + key!r}; there are {', '.join(keys)}")


def of_type(at: At, value: object, *types: type) -> Any:
    """Return the value if it is of one of the types; true and false are no integers."""
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise at.wrong(f"should be {' or '.join(map(name_of, types))}, not {kind_of(value)}")
    return value


# -- simple kinds


def string(at: At, value: object) -> str:
    """A string."""
    found: str = of_type(at, value, str)
    return found


def filled(at: At, value: object) -> str:
    """A string that is not empty."""
    found = string(at, value)
    if not found:
        raise at.wrong("is empty")
    return found


def flag(at: At, value: object) -> bool:
    """True or false."""
    found: bool = of_type(at, value, bool)
    return found


def one_of(choices: Collection[str]) -> Kind:
    """Return the kind of some words."""

    def kind(at: At, value: object) -> str:
        found = string(at, value)
        if found not in choices:
            raise at.wrong(f"should be one of {', '.join(choices)}, not {found!r}")
        return found

    kind.__doc__ = f"One of {', '.join(choices)}."
    return kind


def number(least: float, most: float = LONGEST) -> Kind:
    """Return the kind of the numbers of a range."""
    return _range(least, most, (int, float), "A number")


def whole(least: int, most: int) -> Kind:
    """Return the kind of the integers of a range."""
    return _range(least, most, (int,), "An integer")


def _range(least: float, most: float, types: tuple[type, ...], noun: str) -> Kind:
    def kind(at: At, value: object) -> Any:
        found = of_type(at, value, *types)
        if not least <= found <= most:
            raise at.wrong(f"should be from {least} to {most}, not {shown(found)}")
        return found

    kind.__doc__ = f"{noun} from {least} to {most}."
    return kind


def bits(most: int) -> Kind:
    """Return the kind of permission bits, which are written in octal."""

    def kind(at: At, value: object) -> int:
        found: int = of_type(at, value, int)
        if found < 0:
            raise at.wrong("is negative")
        if found > most:
            found_shown = f"0o{found:o}" if found < _LONG else shown(found)
            raise at.wrong(f"should be from 0o000 to 0o{most:o}, not {found_shown}")
        return found

    kind.__doc__ = f"An integer from 0o000 to 0o{most:o}."
    return kind


def shown(value: float) -> str:
    """Return a number that is out of its range, in words if it is long: Python does not write out every number."""
    if isinstance(value, int) and abs(value) >= _LONG:
        return "more" if value > 0 else "less"
    return str(value)
