"""Helpers for the tests of the commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from slaveproto.commands.context import CommandContext
from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.effects import MakeDirs, Script, Spawn
from slaveproto.testing import PlayStep, ScriptRun, ends, play, replies, sends, sends_text, wants
from slaveproto.updates import Dialect
from slaveproto.wire import Value

TEXT: Final = CommandContext("/slave/linux", {"PATH": "/bin"}, Dialect.TEXT, "utf-8", use_pty=False, posix=True)
BYTES: Final = attrs.evolve(TEXT, dialect=Dialect.BYTES)
DIALECTS: Final = (TEXT, BYTES)
WORKDIR: Final = "/slave/linux/build"
CHILD: Final = 7


def make_shell(context: CommandContext = TEXT, /, **arguments: Value) -> Script[None]:
    """Return the script of `make` in `build`, without the environment in its header, unless told otherwise."""
    command: Value = ["make"] if context.dialect is Dialect.TEXT else [b"make"]
    given: Mapping[str, Value] = {"workdir": "build", "command": command, "logEnviron": False, **arguments}
    return make_script("shell", given, context, COMMANDS)


def header(
    context: CommandContext = TEXT, limits: str = "", logs: str = "{}", stdin: str = "", pty: bool = False
) -> str:
    """Return the first header of `make_shell`."""
    argv = "[b'make']" if context.dialect is Dialect.TEXT else "['make']"
    return f"make\n in dir {WORKDIR}{limits}\n watching logfiles {logs}\n argv: {argv}\n{stdin} using PTY: {pty}\n"


def spawn(stdin: bytes = b"", *, use_pty: bool = False) -> Spawn:
    """Return the effect by which `make_shell` starts its process."""
    return Spawn((b"make",), {b"PATH": b"/bin", b"PWD": WORKDIR.encode()}, WORKDIR, stdin, use_pty)


def begins(text: str) -> tuple[PlayStep, ...]:
    """The steps up to the header."""
    return wants(MakeDirs(WORKDIR)), replies(True), sends_text("header", text)


def finishes(code: int, elapsed: float = 0.0) -> tuple[PlayStep, ...]:
    """The steps from the return code on."""
    return sends("rc", code), sends_text("header", f"elapsedTime={elapsed:.6f}\n"), ends()


def play_running(*steps: PlayStep, context: CommandContext = TEXT, limits: str = "", **arguments: Value) -> ScriptRun:
    """Play `make_shell`; `steps` are those after the process was started."""
    script = make_shell(context, **arguments)
    return play(script, *begins(header(context, limits)), wants(spawn()), replies(CHILD), *steps)
