"""Translation of a command into the `Spawn` of a process.

Source: `runprocess.py` of buildslave 0.8.14 and buildbot-worker 4.3.0.
"""

from __future__ import annotations

import ntpath
from collections.abc import Mapping, Sequence
from typing import Final

from slaveproto.commands.batch import batch_line
from slaveproto.commands.context import CommandContext
from slaveproto.commands.environ import raw_environ
from slaveproto.effects import Spawn
from slaveproto.errors import CommandError

SHELL: Final = (b"/bin/sh", b"-c")


def spawn(
    command: bytes | str | Sequence[bytes | str],
    environ: Mapping[str, str],
    directory: str,
    context: CommandContext,
    *,
    stdin: bytes = b"",
    use_pty: bool = False,
    kill_leftovers: bool = False,
) -> Spawn:
    """Return the effect that runs a command: a list of words, or one text for the shell.

    On Windows a list goes to the shell, too, which finds programs as people expect it; only an `.exe` that is named by
    its absolute path needs no shell.

    Raises:
        CommandError: it is empty, or cannot be said in the encoding of processes or to `cmd.exe`.
    """
    argv, script = _argv(command, context)
    if not argv:
        raise CommandError("builtins.ValueError", "an empty command")
    environment = raw_environ(environ, context)
    return Spawn(argv, environment, directory, stdin, use_pty, script, context.encoding, kill_leftovers)


def _argv(command: bytes | str | Sequence[bytes | str], context: CommandContext) -> tuple[tuple[bytes, ...], bool]:
    if isinstance(command, (bytes, str)):
        text = context.raw("command", command)
        return ((*SHELL, text), False) if context.posix else ((text,), True)
    argv = tuple(context.raw("command", word) for word in command)
    if context.posix or not argv:
        return argv, False
    words = [context.text("command", word) for word in command]
    if words[0].lower().endswith(".exe") and ntpath.isabs(words[0]):
        return argv, False
    if any(end in word for word in words for end in "\r\n"):
        raise CommandError(
            "builtins.ValueError",
            "a word of the command holds the end of a line, which cmd.exe takes for the end of it",
        )
    return (context.raw("command", batch_line(words)),), True
