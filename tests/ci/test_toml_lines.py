"""Line numbers of keys in a TOML file, in each form that TOML allows."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.ci.file.toml_lines import Path, locate

DOCUMENT = '''\
# [comment]
top = 1   # top = 2
"quoted key" = "a # b"
'lit.eral' = ["[[slave]]", # x = 1
  "two",
]

[master]
text = """
[slave]
name = "no"
\\""" still """""
a.b . "c\\u0064" = { x = 1, y = [ { z = 2 },
   { z = 3 } ] }
lines = \'\'\'
[[slave]]
'quoted' ''\'\'\'

[[slave]]
name = "one"
when = 1979-05-27 07:32:00Z
[slave.more]
key = true
[[slave]]
  name = 'two'
  [[slave.sub]]
  key = 1
  [[slave.sub]]
  key = 2
[other.deep]
x = -inf
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("quoted key",), 3),
        (("lit.eral",), 4),
        (("lit.eral", 0), 4),
        (("lit.eral", 1), 5),
        (("master",), 8),
        (("master", "text"), 9),
        (("master", "a"), 13),
        (("master", "a", "b", "cd", "x"), 13),
        (("master", "a", "b", "cd", "y", 0, "z"), 13),
        (("master", "a", "b", "cd", "y", 1), 14),
        (("master", "a", "b", "cd", "y", 1, "z"), 14),
        (("master", "lines"), 15),
        (("slave",), 19),
        (("slave", 0), 19),
        (("slave", 0, "name"), 20),
        (("slave", 0, "when"), 21),
        (("slave", 0, "more"), 22),
        (("slave", 0, "more", "key"), 23),
        (("slave", 1), 24),
        (("slave", 1, "name"), 25),
        (("slave", 1, "sub"), 26),
        (("slave", 1, "sub", 1), 28),
        (("slave", 1, "sub", 1, "key"), 29),
        (("other",), 30),
        (("other", "deep", "x"), 31),
    ],
)
def test_places(path: Path, line: int) -> None:
    assert locate(DOCUMENT)[path] == line


def paths_in(value: object, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_in(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths_in(item, (*path, index))


def test_everything_has_a_place() -> None:
    assert set(locate(DOCUMENT)) == set(paths_in(tomllib.loads(DOCUMENT)))
    assert locate(DOCUMENT.replace("\n", "\r\n")) == locate(DOCUMENT)


class Writer:
    """Writes a value as TOML in a form that is drawn, and remembers the line of each key and item."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.text = ""
        self.lines: dict[Path, int] = {}
        self._draw = draw

    def document(self, values: dict[str, Any]) -> None:
        self._table(values, (), ())

    def _table(self, values: dict[str, Any], path: Path, header: tuple[str, ...]) -> None:
        """Simple keys first, as TOML wants it, then those that get a header of their own."""
        later = {}
        for key, value in values.items():
            tables = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
            if (isinstance(value, dict) or tables) and self._one_of(True, False):
                later[key] = value
            else:
                self._blank()
                self._mark((*path, key))
                self._pair(key, value, path)
                self.text += self._one_of("\n", " # = [x]\n", "\r\n")
        for key, value in later.items():
            inner = (*header, self._key(key))
            for index, item in enumerate(value if isinstance(value, list) else [value]):
                self._blank()
                many = isinstance(value, list)
                here: Path = (*path, key, index) if many else (*path, key)
                self._mark((*path, key))
                self._mark(here)
                self.text += f"{'[' * (1 + many)}{'.'.join(inner)}{']' * (1 + many)}\n"
                self._table(item, here, inner)

    def _pair(self, key: str, value: object, path: Path) -> None:
        if isinstance(value, dict) and len(value) == 1 and self._one_of(True, False):
            # Dotted.
            self._mark((*path, key))
            self.text += f"{self._key(key)}{self._one_of('.', ' . ')}"
            [(inner, item)] = value.items()
            self._mark((*path, key, inner))
            self._pair(inner, item, (*path, key))
            return
        self.text += f"{self._key(key)}{self._one_of('=', ' = ')}"
        self._value(value, (*path, key))

    def _value(self, value: object, path: Path) -> None:
        match value:
            case dict():
                self.text += "{"
                for number, (key, item) in enumerate(value.items()):
                    self.text += ", " if number else ""
                    self._mark((*path, key))
                    self._pair(key, item, path)
                self.text += "}"
            case list():
                self.text += "["
                for index, item in enumerate(value):
                    self.text += self._one_of("", "\n", " # ]\n\n", " ")
                    self._mark((*path, index))
                    self._value(item, path=(*path, index))
                    self.text += self._one_of(",", " ,", ",\n") if index < len(value) - 1 else self._one_of("", ",\n")
                self.text += "]"
            case str():
                self._string(value)
            case _:
                self.text += str(value).lower()

    def _string(self, value: str) -> None:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        forms = ['"' + escaped.replace("\n", "\\n").replace("\t", "\\t") + '"', '"""' + escaped + '"""']
        if "'" not in value:
            forms.append(f"'''{value}'''")
            if "\n" not in value:
                forms.append(f"'{value}'")
        self.text += self._one_of(*forms)

    def _key(self, key: str) -> str:
        quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'
        bare = key and all(char.isascii() and (char.isalnum() or char in "-_") for char in key)
        return self._one_of(key, quoted) if bare else quoted

    def _blank(self) -> None:
        self.text += self._one_of("", "", "\n", "  ", "# x = '''\n")

    def _mark(self, path: Path) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def _one_of(self, *choices: Any) -> Any:
        return self._draw(st.sampled_from(choices))


@st.composite
def documents(draw: st.DrawFn) -> Writer:
    keys = st.text(st.sampled_from("ab.\"'\\ [=#é\n"), max_size=3)
    texts = st.text(st.sampled_from("x\"'\\\n#[]{},= \t"), max_size=8)
    values = st.recursive(
        texts | st.integers() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )
    writer = Writer(draw)
    writer.document(draw(st.dictionaries(keys, values, max_size=4)))
    return writer


@settings(max_examples=80, deadline=None)
@given(documents())
def test_any_document(writer: Writer) -> None:
    tomllib.loads(writer.text)
    assert locate(writer.text) == writer.lines


def test_a_large_string_is_no_burden() -> None:
    text = 'a = """' + '\\n"x' * 300_000 + '"""\nb = 1\n'
    assert locate(text) == {("a",): 1, ("b",): 2}
