"""The header that a command writes into its log, in the words and the order that users of Buildbot know.

Source: `runprocess.py` of buildslave 0.8.4 and buildbot-worker 4.3.0; the two differ in how they show Python values.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from slaveproto.commands.batch import batch_line
from slaveproto.commands.context import CommandContext
from slaveproto.updates import Dialect
from slaveproto.wire.values import Value


def shown(value: Value, *, python2: bool) -> str:
    """Return `value` as a slave prints it: the repr of Python 2 or of Python 3."""
    if not python2:
        return repr(value)
    if isinstance(value, bytes):
        return repr(value)[1:]
    if isinstance(value, str):
        return "u" + ascii(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{shown(k, python2=True)}: {shown(v, python2=True)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(shown(item, python2=True) for item in value) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(shown(item, python2=True) for item in value) + (",)" if len(value) == 1 else ")")
    return repr(value)


def shown_command(command: bytes | str | Sequence[bytes | str], context: CommandContext) -> str:
    """Return a command as it stands behind `argv:`."""
    if isinstance(command, (bytes, str)):
        if context.shows_python2:
            return context.text("command", command)
        return repr(context.raw("command", command))
    if context.shows_python2:
        return shown(list(command), python2=True)
    return repr([context.raw("command", word) for word in command])


def command_line(command: bytes | str | Sequence[bytes | str], context: CommandContext) -> str:
    """Return a command as one would type it."""
    if isinstance(command, (bytes, str)):
        return context.text("command", command)
    words = [context.text("command", word) for word in command]
    if not context.posix:
        return batch_line(words)
    return " ".join(shlex.quote(word) if word else '""' for word in words)


def limit_text(name: str, seconds: float | None, dialect: Dialect) -> str:
    """Return ` (timeout 20 secs)`, or nothing where no limit is set."""
    if not seconds:
        return ""
    return f" ({name} {shown_seconds(seconds, dialect)} {'sec' if seconds == 1 else 'secs'})"


def shown_seconds(seconds: float, dialect: Dialect) -> str:
    """Return a number of seconds; a slave of the 0.8 generation shows whole ones."""
    return str(int(seconds) if dialect is Dialect.BYTES else seconds)


def environment_text(environ: Mapping[str, str], left_out: int = 0) -> str:
    """Return the block that lists the environment; `left_out` is the number of variables that are not in it."""
    more = f"  ({left_out} more that the slave does not tell)\n" if left_out else ""
    return " environment:\n" + "".join(f"  {name}={environ[name]}\n" for name in sorted(environ)) + more
