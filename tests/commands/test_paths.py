"""The path rules of Windows and POSIX, wherever the core joins or compares paths."""

from __future__ import annotations

import attrs
import pytest

from slaveproto.commands.arguments import at_home
from slaveproto.commands.context import CommandContext
from slaveproto.paths import folded
from slaveproto.wire import Value
from tests.commands.support import TEXT

WINDOWS = attrs.evolve(TEXT, directory="C:\\slave\\linux", environ={"USERPROFILE": "C:\\Users\\me"}, posix=False)
SHARE = attrs.evolve(WINDOWS, directory="\\\\server\\share\\slave")


@pytest.mark.parametrize(
    ("context", "parts", "path"),
    [
        (TEXT, ("build",), "/slave/linux/build"),
        (TEXT, ("build", "/abs"), "/abs"),
        (TEXT, ("a\\b", "C:\\x"), "/slave/linux/a\\b/C:\\x"),
        (WINDOWS, (), "C:\\slave\\linux"),
        (WINDOWS, ("",), "C:\\slave\\linux"),
        (WINDOWS, (".",), "C:\\slave\\linux"),
        (WINDOWS, ("build",), "C:\\slave\\linux\\build"),
        (WINDOWS, (b"build",), "C:\\slave\\linux\\build"),
        (WINDOWS, ("a/b\\c",), "C:\\slave\\linux\\a\\b\\c"),
        (WINDOWS, ("a/../b", "..\\c"), "C:\\slave\\linux\\c"),
        (WINDOWS, ("..\\..\\..\\..\\x",), "C:\\x"),
        (WINDOWS, ("D:\\x",), "D:\\x"),
        (WINDOWS, ("d:/x/../y",), "d:\\y"),
        (WINDOWS, ("build", "D:\\x", "y"), "D:\\x\\y"),
        # The root of the same drive.
        (WINDOWS, ("\\x",), "C:\\x"),
        (WINDOWS, ("/x",), "C:\\x"),
        # A drive without a root is where that drive is at present; that of the same drive is where we are.
        (WINDOWS, ("D:x",), "D:x"),
        (WINDOWS, ("C:x",), "C:\\slave\\linux\\x"),
        (WINDOWS, ("c:x",), "c:\\slave\\linux\\x"),
        (WINDOWS, ("\\\\server\\share\\x\\..\\y",), "\\\\server\\share\\y"),
        (WINDOWS, ("//server/share/x",), "\\\\server\\share\\x"),
        (SHARE, ("build",), "\\\\server\\share\\slave\\build"),
        (SHARE, ("..\\..\\..\\x",), "\\\\server\\share\\x"),
        (SHARE, ("\\x",), "\\\\server\\share\\x"),
        (SHARE, ("C:\\x",), "C:\\x"),
    ],
)
def test_joining(context: CommandContext, parts: tuple[Value, ...], path: str) -> None:
    assert context.path(*parts) == path


@pytest.mark.parametrize(
    ("context", "parts", "path"),
    [
        (TEXT, ("build", "a/../b"), "/slave/linux/build/a/../b"),
        (WINDOWS, ("build", "a/../b"), "C:\\slave\\linux\\build\\a/../b"),
        (WINDOWS, ("build", "D:\\a\\.\\b"), "D:\\a\\.\\b"),
    ],
)
def test_joining_for_people(context: CommandContext, parts: tuple[str, ...], path: str) -> None:
    assert context.joined(*parts) == path


@pytest.mark.parametrize(
    ("posix", "one", "other", "same"),
    [
        (True, "/slave/Linux", "/slave/linux", False),
        (True, "/slave/linux", "/slave/linux", True),
        (False, "C:\\slave\\Linux", "c:\\slave\\linux", True),
        (False, "C:\\slave/linux", "C:\\slave\\linux", True),
        (False, "C:\\slave\\linux", "C:\\slave\\mac", False),
    ],
)
def test_comparing(posix: bool, one: str, other: str, same: bool) -> None:
    assert (folded(posix, one) == folded(posix, other)) == same


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("~", "C:\\Users\\me"),
        ("~\\f", "C:\\Users\\me\\f"),
        ("~/f", "C:\\Users\\me/f"),
        ("~you\\f", "~you\\f"),
        ("f~", "f~"),
        ("", ""),
    ],
)
def test_home(path: str, meant: str) -> None:
    assert at_home(path, WINDOWS) == meant
    assert at_home(path, attrs.evolve(WINDOWS, environ={"HOME": "/root"})) == path


def test_home_at_the_root() -> None:
    assert at_home("~\\f", attrs.evolve(WINDOWS, environ={"USERPROFILE": "D:\\"})) == "D:\\f"
    assert at_home("~\\f", attrs.evolve(TEXT, environ={"HOME": "/root"})) == "~\\f"
