"""A slave's description of itself, read from its answers.

Source: manual page, section "Bot methods"; `buildslave.py` of Buildbot 0.8.4p1 and `worker/protocols/pb.py` of 4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slaveproto.errors import RemoteProtocolError
from slaveproto.master.events import SlaveInfo
from slaveproto.master.sizes import MOST_OF_A_MESSAGE, size_of
from slaveproto.wire.values import Value


def text_of(value: Value) -> str:
    """Return text that came in either kind; what is no text is empty, bytes that are none survive the way back."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""


NOTHING_SAID: Final = SlaveInfo("", "", "", "", "", "", 0, {}, {}, {})
"""The description of a slave that has not said anything."""


def read_info(told: Value, commands: Value, version: Value, last: SlaveInfo = NOTHING_SAID) -> SlaveInfo:
    """Return what a slave told.

    Args:
        told: the answer to `getWorkerInfo` or `getSlaveInfo`; None if it knows neither.
        commands: the answer to `getCommands`; None if it was not asked, or does not know.
        version: the answer to `getVersion`, likewise.
        last: of another slave, whose commands and environment are taken if they are the same: they are not read again.

    Raises:
        RemoteProtocolError: one of them is of another kind, or spelled out they are too much.
    """
    entries = _dictionary("what the slave says of itself", told)
    # Early slaves of 0.9 said slave_commands.
    worker_commands = entries.pop("worker_commands", entries.pop("slave_commands", None))
    if commands is None:
        commands = worker_commands
    environ = entries.pop("environ", None)
    same_commands, same_environ = commands == last.commands, environ == last.environ
    new = (version, None if same_commands else commands, None if same_environ else environ)
    if size_of(*entries, *entries.values(), *new, most=MOST_OF_A_MESSAGE) > MOST_OF_A_MESSAGE:
        raise RemoteProtocolError("the slave says more of itself than fits into a message")
    said = entries.pop("version", None)
    cpus = entries.pop("numcpus", 0)
    return SlaveInfo(
        admin=text_of(entries.pop("admin", None)).strip(),
        host=text_of(entries.pop("host", None)).strip(),
        access_uri=text_of(entries.pop("access_uri", None)).strip(),
        version=text_of(said if version is None else version),
        system=text_of(entries.pop("system", None)),
        basedir=text_of(entries.pop("basedir", None)),
        cpus=cpus if isinstance(cpus, int) else 0,
        environ=last.environ if same_environ else _texts("its environment", environ),
        commands=last.commands if same_commands else _texts("its commands", commands),
        other=entries,
    )


def _texts(what: str, value: Value) -> dict[str, str]:
    return {name: text_of(text) for name, text in _dictionary(what, value).items()}


def _dictionary(what: str, value: Value) -> dict[str, Value]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RemoteProtocolError(f"{what} should be a dictionary, not {type(value).__name__}")
    return {text_of(key): item for key, item in value.items()}


def version_of(commands: Mapping[str, str], name: str) -> tuple[int, ...] | None:
    """Return the version of a command as numbers, None if the slave has no such command.

    A slave that names no commands at all has all of them, in their oldest version.
    """
    if not commands:
        return (0,)
    if name not in commands:
        return None
    return tuple(int(part[:9]) for part in commands[name].split(".")[:9] if part.isascii() and part.isdigit())
