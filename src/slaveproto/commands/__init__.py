"""The commands that a master can start: their arguments, their scripts, and the registry of them.

A program that embeds a slave adds commands of its own: `SlaveSession(..., {**COMMANDS, "name": Command(...)})`.
"""

from typing import TYPE_CHECKING

from slaveproto.commands.context import CommandContext as CommandContext
from slaveproto.commands.registry import COMMANDS as COMMANDS
from slaveproto.commands.registry import Command as Command

if TYPE_CHECKING:
    from slaveproto.commands.process import ProcessEnd as ProcessEnd
    from slaveproto.commands.process import ProcessSpec as ProcessSpec
    from slaveproto.commands.process import run_process as run_process
else:

    def __getattr__(name: str) -> object:
        """Import the module that runs processes when it is first used: a slave that waits for work does not need it."""
        if name not in ("ProcessEnd", "ProcessSpec", "run_process"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from slaveproto.commands import process

        return getattr(process, name)
