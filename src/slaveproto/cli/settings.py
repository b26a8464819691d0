"""The configuration file of a slave's base directory, `slaveproto.toml`."""

from __future__ import annotations

import os
from typing import Final

import attrs

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.toml_document import At, of_type, read
from slaveproto.records import record
from slaveproto.slave.config import can_encode

FILE_NAME: Final = "slaveproto.toml"
SHUTDOWNS: Final = ("none", "signal", "file")


@record
class Settings:
    """What the file says. Times are in seconds; see `SlaveConfig` for most of it.

    Args:
        umask: of the commands; None leaves that of the program.
        allow_shutdown: how the slave can be asked for a graceful shutdown: `none`, `signal` (SIGHUP) or `file` (touch
            `shutdown.stamp`).
    """

    host: str
    port: int
    name: str
    password: str = attrs.field(repr=False)
    keepalive: float = 600
    max_delay: float = 300
    max_retries: int | None = None
    use_pty: bool = False
    umask: int | None = None
    encoding: str = "utf-8"
    allow_shutdown: str = "none"


_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "host": (str,),
    "port": (int,),
    "name": (str,),
    "password": (str,),
    "keepalive": (int, float),
    "max_delay": (int, float),
    "max_retries": (int,),
    "use_pty": (bool,),
    "umask": (int,),
    "encoding": (str,),
    "allow_shutdown": (str,),
}
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "port": (1, 65535),
    "keepalive": (0, 10**9 - 1),
    "max_delay": (0.1, 10**9 - 1),
    "max_retries": (1, 10**9 - 1),
    "umask": (0, 0o777),
}
_REQUIRED: Final = ("host", "port", "name", "password")


def load(basedir: str) -> Settings:
    """Read the file of a base directory.

    Raises:
        UsageError: it is missing, unreadable or wrong; the message names the place.
    """
    path = os.path.join(basedir, FILE_NAME)
    try:
        document = read(path)
    except FileNotFoundError:
        raise UsageError(_not_ours(basedir)) from None
    values = document.values
    for key, value in values.items():
        at = At(document).key(key)
        if key not in _TYPES:
            raise document.mistake(at.path, f"unknown key {key!r}; there are {', '.join(_TYPES)}")
        problem = _problem(key, of_type(at, value, *_TYPES[key]))
        if problem:
            raise at.wrong(problem)
    missing = [key for key in _REQUIRED if key not in values]
    if missing:
        raise UsageError(f"{path}: {', '.join(missing)} missing")
    return Settings(**values)


def dump(settings: Settings) -> str:
    """Return the text of the file."""
    lines = ["# Written by `slaveproto create-slave`, read by `slaveproto slave`. Holds a password: keep it private.\n"]
    for key, value in attrs.asdict(settings).items():
        if value is None:
            continue
        lines.append(f"{key} = {_shown(key, value)}\n")
    return "".join(lines)


def _shown(key: str, value: object) -> str:
    if isinstance(value, str):
        return '"' + "".join(_ESCAPES.get(char, char) for char in value) + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"0o{value:03o}" if key == "umask" else str(value)


_ESCAPES: Final = {chr(code): f"\\u{code:04x}" for code in (*range(0x20), 0x7F)} | {'"': '\\"', "\\": "\\\\"}


def _problem(key: str, value: object) -> str:
    """Say what is wrong with a value of the right type; empty if nothing is."""
    if isinstance(value, str) and not value and key != "password":
        return "is empty"
    if isinstance(value, (int, float)) and key in _RANGES:
        least, most = _RANGES[key]
        if not least <= value <= most:
            return f"should be from {least} to {oct(int(most)) if key == 'umask' else most}"
    if key == "allow_shutdown" and value not in SHUTDOWNS:
        return f"should be one of {', '.join(SHUTDOWNS)}"
    if key == "encoding" and not can_encode(str(value)):
        return f"should be an encoding that Python knows and that contains ASCII, not {value!r}"
    return ""


def _not_ours(basedir: str) -> str:
    if not os.path.isdir(basedir):
        return f"{basedir}: no such directory; make it with `slaveproto create-slave`"
    if os.path.exists(os.path.join(basedir, "buildbot.tac")):
        return f"{basedir}: made by buildslave, not by us; run `slaveproto create-slave` on it to take it over"
    return f"{basedir}: not a slave's base directory (no {FILE_NAME}); make it one with `slaveproto create-slave`"
