"""Properties of builds: what a change asks for, what makes two requests the same, what commands are told."""

from __future__ import annotations

from slaveproto.ci.properties import (
    LONGEST,
    MOST,
    asked_by,
    in_words,
    left_out,
    pack,
    simple_text,
    told_together,
    unpack,
    variables,
)
from slaveproto.master.changes import Change
from slaveproto.wire.values import Value


def change(revision: str = "", properties: dict[str, Value] | None = None) -> Change:
    return Change("ada", ("a",), "", revision, "main", "", "", "", "", "", None, properties or {})


def test_what_a_change_asks_for() -> None:
    properties: dict[str, Value] = {
        "owner": "Jörg \udce9", "n": 5, "f": 0.5, "t": True, "none": None, "list": [1], "long": "x" * (LONGEST + 1),
        "huge": 10**5000, "revision": "other", "buildnumber": "9", "odd name": "x", "who": "x",
    }  # fmt: skip
    one = change("1f2e", properties)
    assert asked_by(one) == {
        "revision": "1f2e", "branch": "main", "owner": "Jörg \\udce9", "n": "5", "f": "0.5", "t": "True", "none": ""
    }  # fmt: skip
    assert left_out(one) == ["list", "long", "huge", "buildnumber", "odd name", "who"]


def test_too_many_properties() -> None:
    many = change(properties={f"p{number}": "x" for number in range(MOST + 5)})
    assert len(asked_by(many)) == MOST + 1
    assert left_out(many) == [f"p{number}" for number in range(MOST, MOST + 5)]


def test_requests_that_are_the_same() -> None:
    assert pack({"a": "1", "revision": ""}) == pack({"branch": "", "a": "1"})
    assert pack({"a": "1", "b": "2"}) == pack({"b": "2", "a": "1"})
    assert pack({"a": ""}) != pack({})
    assert (pack({"revision": ""}), unpack("")) == ("", {})
    assert unpack(pack({"a": "ä\n", "b": ""})) == {"a": "ä\n", "b": ""}


def test_what_has_parts_is_no_text() -> None:
    assert [simple_text(value) for value in ([], {}, b"x", object())] == [None] * 4


def test_changes_are_told_together() -> None:
    told = told_together([("ada", ["a", "b c"]), ("", []), ("joe", ["a"]), ("ada", ["d"])])
    assert told == {"who": "ada, joe", "files": "a b c d"}
    long = "x" * (LONGEST // 2)
    assert told_together([("ada", [long, "y"])])["files"] == f"{long} y"
    assert told_together([("ada", [long, "y" + long])]) == {"who": "ada", "files": ""}


def test_what_people_see() -> None:
    properties = {"z": "1", "branch": "x" * 61, "revision": "", "empty": "", "slavename": "s", "who": "ada"}
    assert in_words(properties) == f"branch={'x' * 57}... empty= z=1"


def test_what_commands_are_told_of_a_change() -> None:
    change = {"revision": "1f2e", "branch": "a${HOME}", "project": "", "category": "x\0", "codebase": "x" * 1001}
    assert variables({**change, "repository": "x" * 1000, "slavename": "s", "a-b.c": "v"}) == {
        "SLAVEPROTO_REVISION": "1f2e",
        "SLAVEPROTO_REPOSITORY": "x" * 1000,
        "SLAVEPROTO_SLAVENAME": "s",
        "SLAVEPROTO_PROP_A_B_C": "v",
    }
