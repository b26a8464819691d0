"""The translation of a command into a process."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from slaveproto.commands.context import CommandContext
from slaveproto.commands.programs import spawn
from slaveproto.effects import Spawn
from slaveproto.errors import CommandError
from tests.commands.support import TEXT

WINDOWS = attrs.evolve(TEXT, directory="C:\\slave", posix=False)


def spawned(command: bytes | str | Sequence[bytes | str], context: CommandContext) -> Spawn:
    return spawn(command, {"PATH": "x"}, "there", context, stdin=b"in", use_pty=context.posix)


@pytest.mark.parametrize(
    ("context", "command", "argv", "script"),
    [
        (TEXT, "make all", (b"/bin/sh", b"-c", b"make all"), False),
        (TEXT, ["make", "all"], (b"make", b"all"), False),
        (TEXT, ["C:\\x.exe", "%a\n"], (b"C:\\x.exe", b"%a\n"), False),
        (WINDOWS, "make all & echo %PATH%", (b"make all & echo %PATH%",), True),
        (WINDOWS, b"echo caf\xe9\necho 2", (b"echo caf\xe9\necho 2",), True),
        (WINDOWS, "", (b"",), True),
        (WINDOWS, ["make", "all"], (b"make all",), True),
        (WINDOWS, [b"make", "a b", b"caf\xe9", "%x"], (b'make ^"a b^" caf\xe9 %%x',), True),
        # The shell finds it; only what needs no finding does without.
        (WINDOWS, ["make.exe", "all"], (b"make.exe all",), True),
        (WINDOWS, ["bin\\make.exe"], (b"bin\\make.exe",), True),
        (WINDOWS, ["C:\\make.bat", "a b"], (b'C:\\make.bat ^"a b^"',), True),
        (WINDOWS, ["C:\\a b\\make.exe", "%a\n", "c d"], (b"C:\\a b\\make.exe", b"%a\n", b"c d"), False),
        (WINDOWS, [b"d:/make.EXE"], (b"d:/make.EXE",), False),
        (WINDOWS, ["\\\\server\\share\\make.exe"], (b"\\\\server\\share\\make.exe",), False),
    ],
)
def test_what_is_started(
    context: CommandContext, command: bytes | str | Sequence[bytes | str], argv: tuple[bytes, ...], script: bool
) -> None:
    assert spawned(command, context) == Spawn(argv, {b"PATH": b"x"}, "there", b"in", context.posix, script, "utf-8")


def test_the_encoding_is_told() -> None:
    effect = spawned(["caf\xe9.bat"], attrs.evolve(WINDOWS, encoding="cp850"))
    assert (effect.argv, effect.encoding) == ((b"caf\x82.bat",), "cp850")


@pytest.mark.parametrize("context", [TEXT, WINDOWS])
def test_an_empty_command(context: CommandContext) -> None:
    with pytest.raises(CommandError, match=r"^an empty command$"):
        spawned([], context)


@pytest.mark.parametrize("word", ["a\nb", b"a\rb", "a\r\n"])
def test_what_cmd_exe_cannot_be_told(word: bytes | str) -> None:
    with pytest.raises(CommandError, match="the end of a line"):
        spawned(["python", "-c", word], WINDOWS)
