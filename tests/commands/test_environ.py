"""The environment of a command."""

from __future__ import annotations

import attrs
import pytest

from slaveproto.commands.environ import merged_environ, raw_environ
from slaveproto.errors import CommandError
from slaveproto.updates import Dialect
from slaveproto.wire import Value
from tests.commands.support import BYTES, TEXT

OWN = {"PATH": "/bin", "HOME": "/root", "PYTHONPATH": "/own"}
POSIX = attrs.evolve(TEXT, environ=OWN)
WINDOWS = attrs.evolve(POSIX, posix=False)
BARE = attrs.evolve(POSIX, environ={"PATH": "/bin"})


@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("new", "new"),
        ("", ""),
        ("a:${PATH}:b", "a:/bin:b"),
        ("${PATH}${HOME}", "/bin/root"),
        ("${NOT_THERE}", ""),
        ("${}", ""),
        ("$PATH", "$PATH"),
        ("$${PATH}", "$/bin"),
        ("${NO-NAME}", "${NO-NAME}"),
        ("${PATH", "${PATH"),
        ("${X}", ""),
    ],
)
def test_value(kind: type, value: str, result: str) -> None:
    raw: Value = value.encode() if kind is bytes else value
    key: Value = b"X" if kind is bytes else "X"
    assert merged_environ({key: raw}, POSIX) == {**OWN, "X": result}


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        (None, OWN),
        ({}, OWN),
        ({"PATH": "/other"}, {**OWN, "PATH": "/other"}),
        ({"PATH": "/other:${PATH}"}, {**OWN, "PATH": "/other:/bin"}),
        ({"HOME": None}, {"PATH": "/bin", "PYTHONPATH": "/own"}),
        ({"NOT_THERE": None}, OWN),
        ({"PYTHONPATH": None}, {"PATH": "/bin", "HOME": "/root"}),
        ({"L": ["a", "b"]}, {**OWN, "L": "a:b"}),
        ({"L": (b"a", "${HOME}")}, {**OWN, "L": "a:/root"}),
        ({"L": []}, {**OWN, "L": ""}),
        ({"PYTHONPATH": "/new"}, {**OWN, "PYTHONPATH": "/new:/own"}),
        ({b"PYTHONPATH": [b"/1", b"/2"]}, {**OWN, "PYTHONPATH": "/1:/2:/own"}),
        # The slave's own variables are meant, not those that the master changes in the same breath.
        ({"HOME": "/h", "X": "${HOME}"}, {**OWN, "HOME": "/h", "X": "/root"}),
    ],
)
def test_changes(changes: Value, result: dict[str, str]) -> None:
    assert merged_environ(changes, POSIX) == result


def test_separator_is_that_of_the_host() -> None:
    assert merged_environ({"L": ["a", "b"], "PYTHONPATH": "c"}, WINDOWS) == {
        **OWN,
        "L": "a;b",
        "PYTHONPATH": "c;/own",
    }


def test_windows_does_not_heed_the_case_of_names() -> None:
    changes: Value = {"Path": "C:\\x;${path}", b"home": None, "New": "${hOmE}"}
    assert merged_environ(changes, WINDOWS) == {"PATH": "C:\\x;/bin", "PYTHONPATH": "/own", "NEW": "/root"}
    assert merged_environ({"path": "x"}, POSIX) == {**OWN, "path": "x"}


def test_pythonpath_of_a_slave_without_one_ends_in_the_separator() -> None:
    assert merged_environ({"PYTHONPATH": "/new"}, BARE)["PYTHONPATH"] == "/new:"


def test_slave_keeps_its_own() -> None:
    merged = merged_environ({"PATH": None, "HOME": "x"}, POSIX)
    merged["PATH"] = "changed"
    merged_environ(None, POSIX)["PATH"] = "changed"
    assert POSIX.environ == {"PATH": "/bin", "HOME": "/root", "PYTHONPATH": "/own"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ("A=b", "env should be a dictionary"),
        ([("A", "b")], "env should be a dictionary"),
        (1, "env should be a dictionary"),
        ({1: "a"}, "the name of an environment variable should be text, not int"),
        ({None: "a"}, "the name of an environment variable should be text, not NoneType"),
        ({"A": 1}, "env: the value of 'A' should be text or a list of texts"),
        ({"A": True}, "env: the value of 'A' should be text or a list of texts"),
        ({"A": {}}, "env: the value of 'A' should be text or a list of texts"),
        ({"A": ["a", 1]}, "env: the value of 'A' should be text or a list of texts"),
        ({"A": ["a", None]}, "env: the value of 'A' should be text or a list of texts"),
        ({"A": ["a", ["b"]]}, "env: the value of 'A' should be text or a list of texts"),
    ],
)
def test_refuses(changes: Value, text: str) -> None:
    with pytest.raises(CommandError) as caught:
        merged_environ(changes, POSIX)
    assert str(caught.value) == text


def test_bytes_that_are_no_text_reach_the_process() -> None:
    for context in (TEXT, BYTES):
        merged = merged_environ({b"A": b"caf\xe9"}, context)
        assert raw_environ(merged, context) == {b"PATH": b"/bin", b"A": b"caf\xe9"}


def test_text_that_the_encoding_cannot_say_is_refused() -> None:
    context = attrs.evolve(TEXT, encoding="latin-1", dialect=Dialect.BYTES)
    assert raw_environ({"A": "\xe9"}, context) == {b"A": b"\xe9"}
    with pytest.raises(CommandError, match="the value of A cannot be said in latin-1"):
        raw_environ({"A": "\u20ac"}, context)
