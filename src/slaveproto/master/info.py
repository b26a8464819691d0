"""What a slave says of itself when it is attached.

Source: manual page, section "Bot methods"; `buildslave.py` of Buildbot 0.8.4p1 and `worker/protocols/pb.py` of 4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slaveproto.errors import RemoteProtocolError
from slaveproto.master.events import SlaveInfo
from slaveproto.master.weights import MOST_OF_A_MESSAGE, weight_of
from slaveproto.wire.values import Value


def text_of(value: Value) -> str:
    """Return text that came in either kind; what is no text is empty, bytes that are none survive the way back."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""


def read_info(told: Value, commands: Value, version: Value) -> SlaveInfo:
    """Return what a slave told.

    Args:
        told: the answer to `getWorkerInfo` or `getSlaveInfo`; None if it knows neither.
        commands: the answer to `getCommands`; None if it was not asked, or does not know.
        version: the answer to `getVersion`, likewise.

    Raises:
        RemoteProtocolError: one of them is of another kind, or spelled out they are too much.
    """
    if weight_of(told, commands, version, most=MOST_OF_A_MESSAGE) > MOST_OF_A_MESSAGE:
        raise RemoteProtocolError("the slave says more of itself than fits into a message")
    entries = _dictionary("what the slave says of itself", told)
    # Early slaves of 0.9 said slave_commands.
    worker_commands = entries.pop("worker_commands", entries.pop("slave_commands", None))
    versions = _dictionary("its commands", worker_commands if commands is None else commands)
    environ = _dictionary("its environment", entries.pop("environ", None))
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
        environ={name: text_of(value) for name, value in environ.items()},
        commands={name: text_of(value) for name, value in versions.items()},
        other=entries,
    )


def _dictionary(what: str, value: Value) -> dict[str, Value]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RemoteProtocolError(f"{what} should be a dictionary, not {type(value).__name__}")
    return {text_of(key): item for key, item in value.items()}


NOTHING_SAID: Final = read_info(None, None, None)
"""Of a slave that has not said anything."""


def version_of(commands: Mapping[str, str], name: str) -> tuple[int, ...] | None:
    """Return the version of a command as numbers, None if the slave has no such command.

    A slave that names no commands at all has all of them, in their oldest version.
    """
    if not commands:
        return (0,)
    if name not in commands:
        return None
    return tuple(int(part[:9]) for part in commands[name].split(".")[:9] if part.isascii() and part.isdigit())
