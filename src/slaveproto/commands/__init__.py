"""The commands that a master can start: their arguments, their scripts, and the registry of them.

A program that embeds a slave adds commands of its own: `SlaveSession(..., {**COMMANDS, "name": Command(...)})`.
"""

from slaveproto.commands.context import Context as Context
from slaveproto.commands.process import ProcessEnd as ProcessEnd
from slaveproto.commands.process import ProcessSpec as ProcessSpec
from slaveproto.commands.process import run_process as run_process
from slaveproto.commands.registry import COMMANDS as COMMANDS
from slaveproto.commands.registry import Command as Command
