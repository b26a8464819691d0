"""The configuration file of a slave's base directory, `slaveproto.toml`."""

from __future__ import annotations

import json
import os
import re
import tomllib
from typing import Final

import attrs

from slaveproto.cli.errors import UsageError

FILE_NAME: Final = "slaveproto.toml"
SHUTDOWNS: Final = ("none", "signal", "file")


@attrs.frozen
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
_REQUIRED: Final = ("host", "port", "name", "password")


def load(basedir: str) -> Settings:
    """Read the file of a base directory.

    Raises:
        UsageError: it is missing, unreadable or wrong; the message names the place.
    """
    path = os.path.join(basedir, FILE_NAME)
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
        values = tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(_not_ours(basedir)) from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    for key, value in values.items():
        where = f"{path}{_line_of(key, text)}"
        if key not in _TYPES:
            raise UsageError(f"{where}: unknown key {key!r}; there are {', '.join(_TYPES)}")
        if not isinstance(value, _TYPES[key]) or (isinstance(value, bool) and bool not in _TYPES[key]):
            kinds = " or ".join(kind.__name__ for kind in _TYPES[key])
            raise UsageError(f"{where}: {key} should be {kinds}, not {type(value).__name__}")
        problem = _problem(key, value)
        if problem:
            raise UsageError(f"{where}: {key} {problem}")
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
        shown = f"0o{value:03o}" if key == "umask" else json.dumps(value, ensure_ascii=False)
        lines.append(f"{key} = {shown}\n")
    return "".join(lines)


def _problem(key: str, value: object) -> str:
    """Say what is wrong with a value of the right type; empty if nothing is."""
    if isinstance(value, str) and not value and key != "password":
        return "is empty"
    if key == "port" and not 0 < int(str(value)) < 65536:
        return "is no port number"
    if key in ("keepalive", "max_delay", "max_retries", "umask") and float(str(value)) < 0:
        return "is negative"
    if key == "allow_shutdown" and value not in SHUTDOWNS:
        return f"should be one of {', '.join(SHUTDOWNS)}"
    if key == "encoding":
        try:
            "".encode(str(value))
        except LookupError:
            return f"names no encoding that Python knows: {value}"
    return ""


def _line_of(key: str, text: str) -> str:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*\[*\s*[\"']?{re.escape(key)}\b", line):
            return f":{number}"
    return ""


def _not_ours(basedir: str) -> str:
    if not os.path.isdir(basedir):
        return f"{basedir}: no such directory; make it with `slaveproto create-slave`"
    if os.path.exists(os.path.join(basedir, "buildbot.tac")):
        return f"{basedir}: made by buildslave, not by us; run `slaveproto create-slave` on it to take it over"
    return f"{basedir}: not a slave's base directory (no {FILE_NAME}); make it one with `slaveproto create-slave`"
