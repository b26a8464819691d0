"""Readers of the arguments of a command, as a master sends them."""

from __future__ import annotations

from collections.abc import Mapping

from slaveproto.commands.context import CommandContext
from slaveproto.errors import CommandError
from slaveproto.wire.values import Remote, Value


def seconds(name: str, value: Value) -> float | None:
    """Return a time limit; None for none.

    Raises:
        CommandError: it is neither a number nor None.
    """
    if value is None or value == 0:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9:
        return value
    raise CommandError("builtins.ValueError", f"{name} should be a number of seconds or None")


def count(name: str, value: Value) -> int | None:
    """Return a number of things; None for no limit; raises as `seconds`."""
    if value is None:
        return None
    if isinstance(value, int) and value >= 0:
        return value
    raise CommandError("builtins.ValueError", f"{name} should be a whole number or None")


def remote(name: str, value: Value) -> Remote:
    """Return an object of the master's; raises as `seconds`."""
    if isinstance(value, Remote):
        return value
    raise CommandError("builtins.TypeError", f"{name} should be a reference, not {type(value).__name__}")


def either(arguments: Mapping[str, Value], *names: str) -> Value:
    """Return the argument that has one of several names."""
    return next(arguments[name] for name in names if name in arguments)


def at_home(path: str, context: CommandContext) -> str:
    """Return a path with a leading `~` replaced by the home directory that the slave's environment names."""
    home = context.environ.get("HOME" if context.posix else "USERPROFILE")
    slashes = "/" if context.posix else "/\\"
    if home and path[:1] == "~" and (path == "~" or path[1] in slashes):
        return home.rstrip(slashes) + path[1:] if path != "~" else home
    return path
