"""The command `mkdir`."""

from __future__ import annotations

import pytest

from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.effects import Interrupted, MakeDirs
from slaveproto.errors import CommandError, HostError
from slaveproto.testing import ends, fails, play, replies, sends, sends_text, tells, wants
from slaveproto.wire import Value
from tests.commands.support import TEXT


@pytest.mark.parametrize(
    ("directory", "path"),
    [
        ("a", "/slave/linux/a"),
        (b"a/b", "/slave/linux/a/b"),
        ("../other", "/slave/other"),
        ("/tmp/a", "/tmp/a"),
        (".", "/slave/linux"),
        (b"caf\xe9", "/slave/linux/caf\udce9"),
    ],
)
@pytest.mark.parametrize("new", [True, False])
def test_creates(directory: Value, path: str, new: bool) -> None:
    script = make_script("mkdir", {"dir": directory}, TEXT, COMMANDS)
    play(script, wants(MakeDirs(path)), replies(new), sends("rc", 0), ends())


@pytest.mark.parametrize(("errno", "code"), [(13, 13), (0, 1)])
def test_reports_the_error(errno: int, code: int) -> None:
    play(
        make_script("mkdir", {"dir": "a"}, TEXT, COMMANDS),
        wants(MakeDirs("/slave/linux/a")),
        fails(HostError(errno, "Permission denied")),
        sends_text("header", "mkdir: Permission denied: /slave/linux/a\n"),
        sends("rc", code),
        ends(),
    )


def test_is_too_short_to_be_interrupted() -> None:
    play(
        make_script("mkdir", {"dir": "a"}, TEXT, COMMANDS),
        wants(MakeDirs("/slave/linux/a")),
        tells(Interrupted("stop")),
        replies(True),
        sends("rc", 0),
        ends(),
    )


@pytest.mark.parametrize("directory", [None, 1, ["a", "b"], True])
def test_refuses_what_is_no_path(directory: Value) -> None:
    with pytest.raises(CommandError, match=r"^a path should be text, not \w+$"):
        make_script("mkdir", {"dir": directory}, TEXT, COMMANDS)


def test_needs_a_directory() -> None:
    with pytest.raises(CommandError, match="mkdir is missing args: dir") as caught:
        make_script("mkdir", {}, TEXT, COMMANDS)
    assert caught.value.kind == "builtins.ValueError"
