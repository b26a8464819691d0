"""Many builders from one text: named lists of steps, and builders for each combination of some values.

Rules.

* `[[steps.NAME]]` are the steps of a list. A step that is only `use = "NAME"` stands for all of them, in a builder and
  in another list; a list does not use itself.
* A builder with a `matrix` stands for one builder for each combination of the values of its keys. They are properties
  of it, which no request replaces. In its `name`, `builddir` and `slaves`, words of the matrix, and no others, are
  filled in when the file is read. A `name` without any gets the values behind it, each after a `-`.
* Without a matrix, percent signs in these three are themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from slaveproto.ci.file import values
from slaveproto.ci.file.conditions import free_property_name
from slaveproto.ci.file.toml_document import At, of_type
from slaveproto.ci.file.words import WordPlace, filled, mistake_in, properties_in

MOST: Final = 1000
"""Builders that one `[[builder]]` may stand for."""

MOST_STEPS: Final = 1000
"""Steps of a builder: lists that use each other grow fast."""


class StepLists:
    """The lists `[[steps.NAME]]` of a file.

    Args:
        top: the file.
        value: its key `steps`.

    Raises:
        UsageError: it is no table of lists.
    """

    def __init__(self, top: At, value: object) -> None:
        self._at = top.section("steps")
        self._lists: dict[str, list[Any]] = {}
        for name, tables in of_type(self._at, value, dict).items():
            if not isinstance(tables, list):
                raise top.document.mistake((*self._at.path, name), f"steps.{name} should be [[steps.{name}]]")
            self._lists[name] = tables

    def all(self) -> Iterator[tuple[At, Any]]:
        """Return the steps of all lists, and their places."""
        for name in self._lists:
            yield from itertools.islice(self._of(name, ()), MOST_STEPS)

    def expand(self, at: At, table: object, inside: tuple[str, ...] = ()) -> Iterator[tuple[At, Any]]:
        """Return the steps that a table stands for, which is itself if it does not use a list, and their places.

        Args:
            at: the place of the table.
            table: the table.
            inside: the lists that it belongs to.

        Raises:
            UsageError: it uses a list that is not there, or that uses itself.
        """
        if not isinstance(table, dict) or "use" not in table:
            yield at, table
            return
        here = at.key("use")
        name = values.text(here, table["use"])
        for key in table:
            if key != "use":
                raise at.key(key).wrong("cannot be in the same step as use")
        if name not in self._lists:
            raise here.wrong(f"{name!r} is no [[steps.NAME]] of the file; there are {', '.join(self._lists) or 'none'}")
        if name in inside:
            raise here.wrong(f"{name!r} would have no end: {' uses '.join((*inside, name))}")
        yield from self._of(name, inside)

    def _of(self, name: str, inside: tuple[str, ...]) -> Iterator[tuple[At, Any]]:
        for index, table in enumerate(self._lists[name]):
            yield from self.expand(self._at.section(name, index), table, (*inside, name))


def matrix(at: At, value: object) -> dict[str, tuple[str, ...]]:
    """A table of lists of texts, by the name of the property."""
    found = {}
    for name, item in of_type(at, value, dict).items():
        here = at.key(name)
        free_property_name(here, name)
        texts = found[name] = values.any_texts(here, of_type(here, item, list))
        if not texts:
            raise here.wrong("is empty")
        for index, text in enumerate(texts):
            if text in texts[:index]:
                raise here.item(index).wrong(f"{text!r} comes twice")
    if not found:
        raise at.wrong("is empty")
    count = 1
    for texts in found.values():
        count *= len(texts)
    if count > MOST:
        raise at.wrong(f"stands for {count} builders, {MOST} at most")
    return found


def variants(at: At, table: object) -> Iterator[tuple[Mapping[str, str], object]]:
    """Return the builders that a table stands for: the values of its matrix, and the table without it.

    Raises:
        UsageError: the matrix is wrong, or a word is not of the matrix.
    """
    if not isinstance(table, dict) or "matrix" not in table:
        yield {}, table
        return
    named = matrix(at.key("matrix"), table["matrix"])
    for combination in itertools.product(*named.values()):
        own = dict(zip(named, combination, strict=True))
        yield own, _variant(at, {key: value for key, value in table.items() if key != "matrix"}, own)


def _variant(at: At, table: dict[str, Any], own: Mapping[str, str]) -> dict[str, Any]:
    done = dict(table)
    for key in ("name", "builddir"):
        if isinstance(table.get(key), str):
            done[key] = _filled(at.key(key), table[key], own)
    if isinstance(table.get("name"), str) and not properties_in(table["name"]):
        done["name"] = "-".join((done["name"], *own.values()))
    if isinstance(table.get("slaves"), list):
        here = at.key("slaves")
        done["slaves"] = [
            _filled(here.item(index), name, own) if isinstance(name, str) else name
            for index, name in enumerate(table["slaves"])
        ]
    return done


def _filled(at: At, text: str, own: Mapping[str, str]) -> str:
    mistake = mistake_in(text)
    if mistake is not None:
        raise at.wrong(mistake)
    for name in properties_in(text):
        if name not in own:
            raise at.wrong(f"may depend on the matrix only, on {', '.join(own)}, and not on {name}")
    return filled(text, own, WordPlace.TEXT)
