"""The ways in which masters are spoken to: all that depends on the kind of master is decided by these tables.

Rules. Which kind a master is shows in what it calls, and counts until its connection is over. Until it shows, a slave
speaks to a master as to one of 0.8. Nothing else in the slave looks at names of methods or at the kind of a text to
find out who its master is.

Source: `bot.py` and `runprocess.py` of buildslave 0.8.4; `base.py` of buildbot-worker 0.9.0 and 4.3.0; docs/peers.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from slaveproto.updates import Dialect
from slaveproto.wire.values import Value

FIRST: Final = Dialect.BYTES
"""The dialect for a master that has not made one of the calls below yet."""

DIALECTS: Final[Mapping[str, Dialect]] = {"getWorkerInfo": Dialect.TEXT}
"""The dialect for a master once it called a method: only 0.9 and later have workers, and they read text."""

EXTENSIONS: Final[Mapping[str, Dialect]] = {"raw_output": Dialect.BYTES}
"""Arguments of `startCommand` that are an extension of this project: the dialect of a command's output if one is true.

Text is UTF-8 or it is lost, so a master that reads text gets replacement characters for what is not. One of slaveproto
asks for the bytes that the processes wrote. Other slaves ignore an argument that they do not know.
"""

UNKNOWN_COMMAND: Final[Mapping[Dialect, tuple[str, str]]] = {
    Dialect.BYTES: ("buildslave.bot.UnknownCommand", "unrecognized SlaveCommand {name!r}"),
    Dialect.TEXT: ("buildbot_worker.base.UnknownCommand", "(command {id}): unrecognized WorkerCommand {name!r}"),
}
"""The failure of a command that a slave does not have: dotted name of its class, and text."""

UNKNOWN_COMMAND_PARENTS: Final = ("twisted.spread.pb.Error", "builtins.Exception", "exceptions.Exception")
"""The classes that both of these derive from, in the spelling of either Python."""


def output_dialect(arguments: Mapping[str, Value], dialect: Dialect) -> Dialect:
    """Return how the output of a command with these arguments is sent to a master that reads `dialect`."""
    wanted = (kind for name, kind in EXTENSIONS.items() if arguments.get(name) is True)
    return next(wanted, dialect)


def is_python2(names: Iterable[Value]) -> bool:
    """Whether a master runs on Python 2: it names the arguments of commands with byte strings.

    Masters 0.9.x do so there, too, although they read text. The slaves of such masters print values as Python 2 does.
    """
    return any(isinstance(name, bytes) for name in names)
