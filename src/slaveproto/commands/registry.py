"""Which commands there are. A registry: it only accumulates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from slaveproto.commands.context import Context
from slaveproto.commands.fs import make_directory
from slaveproto.commands.shell import shell
from slaveproto.effects import Script
from slaveproto.errors import CommandError
from slaveproto.wire.values import Value

Arguments: TypeAlias = Mapping[str, Value]

SLAVE_VERSION: Final = "2.16"
"""What `getCommands` says of every command: that of buildslave 0.8.14, the last with this interface."""

WORKER_VERSION: Final = "3.3"
"""What `getWorkerInfo` says of every command: that of buildbot-worker 4.3.0."""


@attrs.frozen
class Command:
    """A command that a master can start.

    Args:
        required: the arguments without which it is refused.
        script: makes the script of one run; may raise `CommandError`.
    """

    required: tuple[str, ...]
    script: Callable[[Arguments, Context], Script[None]]


COMMANDS: Final[Mapping[str, Command]] = {
    "shell": Command(("workdir", "command"), shell),
    "mkdir": Command(("dir",), make_directory),
}


def make_script(name: str, arguments: Arguments, context: Context, commands: Mapping[str, Command]) -> Script[None]:
    """Return the script of one run of the command `name`.

    Raises:
        CommandError: an argument is missing, or is not what it should be.
    """
    command = commands[name]
    missing = [key for key in command.required if key not in arguments]
    if missing:
        raise CommandError("builtins.ValueError", f"{name} is missing args: {', '.join(missing)}")
    return command.script(arguments, context)
