"""TOML files whose every mistake is told in one line, with its place."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from slaveproto.ci.errors import UsageError
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
    """Say what a value of a TOML file is."""
    return name_of(type(value))


def name_of(kind: type) -> str:
    """Say what values of a type are called."""
    return _KINDS.get(kind, kind.__name__)


_TOO_MANY_DIGITS: Final = re.compile(r"[0-9](?:_?[0-9]){4300,}")


@record
class Document:
    """A file that was read.

    Args:
        path: its name, as people know it.
        text: what is in it.
        values: what that means.
    """

    path: str
    text: str
    values: dict[str, Any]

    @property
    def folder(self) -> str:
        """The absolute path of the folder that it is in."""
        return os.path.dirname(os.path.abspath(self.path))

    def mistake(self, where: Path, words: str) -> UsageError:
        """Return the error for what is wrong at a place; () is the file itself."""
        return UsageError(f"{self.path}{f':{locate(self.text)[where]}' if where else ''}: {words}")


def read(path: str) -> Document:
    """Read a file.

    Raises:
        UsageError: it is unreadable or no TOML; the message has the line.
        FileNotFoundError: there is none.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
        text = data.decode()
        # Here, for a nesting that is just too deep for the one must not be a surprise in the other, later.
        values = tomllib.loads(text)
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
        # Python's own, of a number that takes it too long to read.
        found = _TOO_MANY_DIGITS.search(text)
        line = text.count("\n", 0, found.start() if found else 0) + 1
        raise UsageError(f"{path}:{line}: a number of too many digits") from None
    except RecursionError as error:
        raise UsageError(f"{path}: {error}") from None
    return Document(path, text, values)


def _with_line(path: str, text: str, message: str) -> str:
    words, _, place = message.rpartition(" (at ")
    found = re.match(r"line ([0-9]+)", place)
    # Else it is at the end.
    line = int(found[1]) if found else text.removesuffix("\n").count("\n") + 1
    return f"{path}:{line}: {words}"


@record
class At:
    """A place in a file, where a value is looked at.

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
"""What may be at a place: checks the value and returns what it means, or raises `UsageError`."""


def read_table(at: At, value: object, keys: Mapping[str, Kind], required: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the given keys of a table mean.

    Raises:
        UsageError: it is no table, has a key that is not among `keys`, a wrong one, or lacks a required one.
    """
    table = of_type(at, value, dict)
    for key in table:
        if key not in keys:
            raise unknown_key(at, key, keys)
    for key in required:
        if key not in table:
            raise at.wrong(f"has no {key}")
    return {key: keys[key](at.key(key), item) for key, item in table.items()}


def unknown_key(at: At, key: str, keys: Iterable[str]) -> UsageError:
    """Return the error for a key of a table that should not be there."""
    return at.document.mistake((*at.path, key), f"unknown key {at.prefix + key!r}; there are {', '.join(keys)}")


def of_type(at: At, value: object, *types: type) -> Any:
    """Return the value if it is of one of the types; true and false are no integers."""
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise at.wrong(f"should be {' or '.join(map(name_of, types))}, not {kind_of(value)}")
    return value
