"""Commands on files and directories."""

from __future__ import annotations

from collections.abc import Mapping

from slaveproto.commands.context import Context
from slaveproto.effects import MakeDirs, Script, SendItem, SendText
from slaveproto.errors import HostError
from slaveproto.wire.values import Value


def make_directory(arguments: Mapping[str, Value], context: Context) -> Script[None]:
    """`mkdir`: create a directory and its parents; one that is there already is fine.

    Source: `commands/fs.py` of buildslave 0.8.14.
    """
    path = context.path(arguments["dir"])

    def script() -> Script[None]:
        try:
            yield from MakeDirs(path)
        except HostError as error:
            yield from SendText("header", f"mkdir: {error.strerror}: {path}\n")
            yield from SendItem("rc", error.errno or 1)
        else:
            yield from SendItem("rc", 0)

    return script()
